package wechatpaysim

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A CodeWish is a rider who opened the wallet's ride code: what the platform asks
// the operator to sign.
type CodeWish struct {
	URL     string // of the operator
	MchID   string
	Key     []byte // 32 bytes, of the call
	OpenID  string
	CardID  string
	UserKey []byte // uncompressed point of the phone's key

	// Spoil changes the fields before they are sent; nil changes nothing.
	Spoil func(fields map[string]string)
}

// RequestCode asks an operator for fields 1 to 15 of a ride code and gives them as
// they came.
func (s *Server) RequestCode(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}, w CodeWish) ([]byte, error) {
	s.mu.Lock()
	m := s.merchants[w.MchID]
	s.mu.Unlock()
	block, err := aes.NewCipher(w.Key)
	if err != nil || m == nil {
		return nil, fmt.Errorf("wechatpaysim: merchant %q or its key: %w", w.MchID, err)
	}
	text := encode(map[string]string{"openid": w.OpenID, "card_id": w.CardID, "user_public_key": hex.EncodeToString(w.UserKey)})
	pad := aes.BlockSize - len(text)%aes.BlockSize
	box := append(text, bytes.Repeat([]byte{byte(pad)}, pad)...)
	iv := []byte(randomText()[:aes.BlockSize])
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(box, box)
	fields := map[string]string{
		"appid": m.AppID, "mch_id": m.MchID, "nonce_str": randomText(),
		"encrypted_data": base64.StdEncoding.EncodeToString(box), "iv": base64.StdEncoding.EncodeToString(iv),
	}
	fields["sign"] = sum2(fields, "HMAC-SHA256", m.APIv2Key)
	nonce := fields["nonce_str"]
	if w.Spoil != nil {
		w.Spoil(fields)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(encode(fields)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := doer.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	said, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
	if err != nil {
		return nil, err
	}
	var answer struct {
		ErrCode       *int   `json:"errcode"`
		NonceStr      string `json:"nonce_str"`
		EncryptedData string `json:"encrypted_data"`
		IV            string `json:"iv"`
	}
	if err := json.Unmarshal(said, &answer); err != nil || answer.ErrCode == nil || *answer.ErrCode != 0 || answer.NonceStr != nonce {
		return nil, fmt.Errorf("wechatpaysim: the operator refused, HTTP status %d", resp.StatusCode)
	}
	back, err1 := base64.StdEncoding.DecodeString(answer.IV)
	sealed, err2 := base64.StdEncoding.DecodeString(answer.EncryptedData)
	if errors.Join(err1, err2) != nil || len(back) != aes.BlockSize || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errors.New("wechatpaysim: the operator's answer cannot be opened")
	}
	cipher.NewCBCDecrypter(block, back).CryptBlocks(sealed, sealed)
	var data struct {
		Base64 []byte `json:"base64_svr_data"`
	}
	end := len(sealed) - int(sealed[len(sealed)-1])
	if end < 0 || json.Unmarshal(sealed[:end], &data) != nil {
		return nil, errors.New("wechatpaysim: the operator's answer cannot be read")
	}
	return data.Base64, nil
}
