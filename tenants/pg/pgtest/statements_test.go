package pgtest

import "testing"

func TestStatementRules(t *testing.T) {
	isTenantTable := func(name string) bool { return name == "taps" || name == "riders" }
	for sql, want := range map[string]string{
		`SELECT 1`:                       "",
		`SELECT * FROM platform.tenants`: "",
		`SELECT n FROM taps WHERE tenant_id = $1 AND n = $2`:                                                              "",
		`SELECT n FROM taps WHERE n = $1`:                                                                                 "names tenant_id 0 times for 1 uses of tenant tables",
		`SELECT n FROM taps -- tenant_id`:                                                                                 "names tenant_id 0 times for 1 uses of tenant tables",
		`SELECT n FROM taps WHERE name = 'tenant_id'`:                                                                     "names tenant_id 0 times for 1 uses of tenant tables",
		`SELECT n FROM taps JOIN riders USING (idx) WHERE taps.tenant_id = $1`:                                            "names tenant_id 1 times for 2 uses of tenant tables",
		`SELECT n FROM taps t JOIN riders r ON r.tenant_id = $1 AND r.idx = t.idx WHERE t.tenant_id = $1`:                 "",
		`UPDATE taps SET n = 1`:                                                                                           "names tenant_id 0 times for 1 uses of tenant tables",
		`DELETE FROM taps WHERE tenant_id = $1`:                                                                           "",
		`INSERT INTO taps (tenant_id, n) VALUES ($1, $2)`:                                                                 "",
		`INSERT INTO taps (tenant_id, n) SELECT $1, n FROM unnest($2::bigint[]) AS u (n)`:                                 "is a bulk insert without ON CONFLICT or RETURNING",
		`INSERT INTO taps (tenant_id, n) SELECT $1, n FROM unnest($2::bigint[]) AS u (n) RETURNING n`:                     "",
		`INSERT INTO taps (tenant_id, n) SELECT $1, n FROM unnest($2::bigint[]) AS u (n) ON CONFLICT DO NOTHING`:          "",
		`UPDATE taps SET at = now() WHERE tenant_id = $1`:                                                                 "takes the time from the database",
		`SELECT CURRENT_TIMESTAMP`:                                                                                        "takes the time from the database",
		`SELECT 'it is now() time', tenant_id FROM taps`:                                                                  "",
		`WITH old AS (SELECT n FROM riders WHERE tenant_id = $1) UPDATE taps SET n = old.n FROM old WHERE tenant_id = $1`: "",
	} {
		if got := broken(sql, isTenantTable); got != want {
			t.Errorf("%s\ngives %q, want %q", sql, got, want)
		}
	}
}
