package table

import (
	"fmt"
	"strings"
	"testing"
)

func TestDSN(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"PW": "a/b@c:d%?# e+f", "ALL": "postgres://u:p@db.bank.example/credit"}[name]
		return v, ok
	}
	for _, tt := range []struct {
		driver, dsn string
		want        address
		err         string
	}{
		{Postgres, "postgres://u:p@db.bank.example/credit", address{driver: Postgres, user: "u", pass: "p", host: "db.bank.example", port: "5432", db: "credit"}, ""},
		{Postgres, "${ALL}", address{driver: Postgres, user: "u", pass: "p", host: "db.bank.example", port: "5432", db: "credit"}, ""},
		{Postgres, "postgresql://u:${PW}@[::1]:6000/credit?tls=verify&tls_ca=/ca.pem", address{driver: Postgres, user: "u", pass: "a/b@c:d%?# e+f", host: "::1", port: "6000", db: "credit", tls: "verify", ca: "/ca.pem"}, ""},
		{MySQL, "mysql://u:${PW}@h/credit?tls=off", address{driver: MySQL, user: "u", pass: "a/b@c:d%?# e+f", host: "h", port: "3306", db: "credit", tls: "off"}, ""},
		{MySQL, "mariadb://u@/credit?socket=/run/s", address{driver: MySQL, user: "u", port: "3306", db: "credit", socket: "/run/s"}, ""},
		{Postgres, "postgres://u@h/credit?sslmode=verify-full&sslrootcert=/c", address{driver: Postgres, user: "u", host: "h", port: "5432", db: "credit", tls: "verify", ca: "/c"}, ""},
		{Postgres, "postgres://u@h/credit?sslmode=prefer", address{}, "open connection"},
		{Postgres, "postgres://u:top%zzsecret@h/credit", address{}, "no URL"},
		{Postgres, "user=u password=topsecret host=h", address{}, "postgres://"},
		{MySQL, "u:topsecret@tcp(h:3306)/credit", address{}, "mysql://USER"},
		{MySQL, "postgres://u:topsecret@h/credit", address{}, "mysql://"},
		{Postgres, "postgres://u:topsecret@h", address{}, "no database"},
		{Postgres, "postgres://:topsecret@h/d", address{}, "no user"},
		{Postgres, "postgres://u:topsecret@/d", address{}, "no host"},
		{Postgres, "postgres://u@h/d?password=topsecret", address{}, `"password"`},
		{Postgres, "postgres://u@h/d?tls=topsecret", address{}, "neither"},
		{Postgres, "postgres://u@h/d?socket=relative", address{}, "full path"},
		{Postgres, "postgres://u:${NONE}@h/d", address{}, "NONE"},
	} {
		full, err := expand(tt.dsn, env)
		var got address
		if err == nil {
			got, err = parseDSN(tt.driver, full)
		}
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%s: %+v, %v", tt.dsn, got, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v, want %q", tt.dsn, err, tt.err)
		}
	}
}

func TestTLSIsTheDefaultBeyondThisMachine(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]bool{
		"postgres://u@db.bank.example/d": true, "postgres://u@10.0.0.7/d": true, "postgres://u@db/d?tls=off": false,
		"postgres://u@localhost/d": false, "postgres://u@127.0.0.9/d": false, "postgres://u@[::1]/d": false, "postgres://u@/d?socket=/s": false,
		"postgres://u@localhost/d?tls=verify": true, "postgres://u@localhost.bank.example/d": true,
	} {
		a, err := parseDSN(Postgres, dsn)
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.tlsConfig()
		if err != nil || (c != nil) != want {
			t.Errorf("%s: TLS %v, want %v (%v)", dsn, c != nil, want, err)
		}
		if c != nil && (c.InsecureSkipVerify || c.ServerName != a.host) {
			t.Errorf("%s: %+v", dsn, c)
		}
	}
	if _, err := (address{host: "h", ca: t.TempDir() + "/none"}).tlsConfig(); err == nil {
		t.Error("a missing tls_ca was ignored")
	}
}

func TestMaskDSN(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://u:p@h:1/d":                    "postgres://u:***@h:1/d",
		"postgres://u@h/d?tls=off":                "postgres://u@h/d?tls=off",
		"postgres://u:${PW}@h/d?tls_ca=/c":        "postgres://u:${PW}@h/d?tls_ca=/c",
		"postgres://u:p@q@h/d?password=p&tls=off": "postgres://u:***@h/d?***&tls=off",
		"${ALL}":            "${ALL}",
		"user=u password=p": "***",
		"mysql://u:a/b@h/d": "mysql://u:***@h/d",
		"mysql://u:pre${PW}@h/d?socket=/run/s.sock": "mysql://u:***@h/d?socket=/run/s.sock",
	} {
		if got := MaskDSN(dsn); got != want {
			t.Errorf("%s: %s, want %s", dsn, got, want)
		}
	}
	q := Query{Driver: Postgres, DSN: "postgres://u:topsecret@h/d", SQL: "SELECT 1"}
	if s := fmt.Sprintf("%v %s %#v", q, q, q); strings.Contains(s, "secret") {
		t.Errorf("printed: %s", s)
	}
}

// FuzzDSN checks that no error and nothing shown holds the password of an address
// that has one.
func FuzzDSN(f *testing.F) {
	f.Add("postgres://u:topsecret@h:5432/d?tls=verify")
	f.Add("mysql://u:topsecret@/d?socket=/s&x=topsecret")
	f.Add("mysql://u:topsecret%zz@h/d")
	f.Add("postgres://u@h/d?password=topsecret#topsecret")
	f.Fuzz(func(t *testing.T, dsn string) {
		for _, driver := range []string{Postgres, MySQL} {
			a, err := parseDSN(driver, dsn)
			if err == nil && (a.user == "" || a.db == "" || a.host == "" && a.socket == "") {
				t.Errorf("%q: incomplete %+v", dsn, a)
			}
			if err == nil && len(a.pass) > 3 && strings.Contains(MaskDSN(dsn), ":"+a.pass+"@") && reference.FindString(a.pass) != a.pass {
				t.Errorf("%q is shown as %q", dsn, MaskDSN(dsn))
			}
			// a parameter that is not known is named, never its value
			if err != nil && strings.Contains(err.Error(), "topsecret") && !strings.Contains(dsn, "topsecret=") && !strings.Contains(dsn, "topsecret&") && strings.HasPrefix(dsn, "postgres://u:topsecret@") {
				t.Errorf("%q: %v", dsn, err)
			}
		}
	})
}
