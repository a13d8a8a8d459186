package wechatpaysim

import (
	"cmp"
	"slices"
	"strconv"
)

// arrears is the list of riders who owe, by open id; the cursor is the last one
// seen. Who has paid is gone at once.
func (s *Server) arrears(in asked) (any, fate) {
	type rider struct {
		OpenID     string `json:"openid"`
		Fee        int64  `json:"fee"`
		CreateTime int64  `json:"create_time"`
		OutUserID  string `json:"out_user_id,omitempty"`
	}
	limit, err := strconv.Atoi(in.query.Get("limit"))
	if err != nil || limit < 1 || limit > 10_000 {
		return map[string]any{"errcode": 40097, "errmsg": "invalid limit"}, delivered
	}
	list := []rider{}
	for _, c := range s.contracts {
		if c.owes > 0 && c.openID > in.query.Get("start_openid") {
			list = append(list, rider{c.openID, c.owes, c.since.Unix(), c.outUserID})
		}
	}
	slices.SortFunc(list, func(a, b rider) int { return cmp.Compare(a.OpenID, b.OpenID) })
	return map[string]any{"errcode": 0, "errmsg": "ok", "list": list[:min(limit, len(list))]}, delivered
}

// SetArrears has a rider owe an amount, without an order.
func (s *Server) SetArrears(contractID string, fen int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.contracts[contractID]; c != nil {
		c.owes, c.since = fen, s.config.Clock()
	}
}
