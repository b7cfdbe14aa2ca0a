package table

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// postgresCursor implements cursor on the rows of one query, in text form: what
// PostgreSQL writes is what cells of a CSV file are, so one parser does for both.
type postgresCursor struct {
	conn   *pgconn.PgConn
	result *pgconn.ResultReader
	row    [][]byte
}

func askPostgres(ctx context.Context, a address, t *tls.Config, query string) (cursor, error) {
	host := net.JoinHostPort(a.host, a.port)
	params := url.Values{"sslmode": {"disable"}, "application_name": {"kontor"}}
	if a.socket != "" {
		host = ""
		params.Set("host", a.socket)
		params.Set("port", a.port)
	}
	u := url.URL{Scheme: "postgres", User: url.User(a.user), Host: host, Path: "/" + a.db, RawQuery: params.Encode()}
	cfg, err := pgconn.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	if a.pass != "" {
		cfg.Password = a.pass
	}
	cfg.TLSConfig, cfg.Fallbacks, cfg.ConnectTimeout = t, nil, connectTimeout
	// When the context ends, the server is told so, instead of finding out.
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: time.Second}
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := &postgresCursor{conn: conn}
	const begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; " +
		"SET LOCAL extra_float_digits = 3; SET LOCAL client_encoding = 'UTF8'"
	if _, err := conn.Exec(ctx, begin).ReadAll(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.result = conn.ExecParams(ctx, query, nil, nil, nil, nil)
	return c, nil
}

// Types of PostgreSQL that do not change from server to server.
var postgresTypes = map[uint32]struct {
	typ  Type // 0 for one that no column of ours can have
	name string
}{
	16: {Bool, "boolean"}, 20: {Int, "bigint"}, 21: {Int, "smallint"}, 23: {Int, "integer"}, 26: {Int, "oid"},
	700: {Float, "real"}, 701: {Float, "double precision"}, 1700: {Float, "numeric"},
	1082: {Time, "date"}, 1114: {Time, "timestamp"}, 1184: {Time, "timestamptz"},
	18: {String, `"char"`}, 19: {String, "name"}, 25: {String, "text"}, 705: {String, "unknown"}, 1042: {String, "character"}, 1043: {String, "varchar"},
	114: {String, "json"}, 3802: {String, "jsonb"}, 142: {String, "xml"}, 2950: {String, "uuid"},
	650: {String, "cidr"}, 869: {String, "inet"}, 774: {String, "macaddr8"}, 829: {String, "macaddr"},
	17: {0, "bytea"}, 790: {0, "money"}, 1083: {0, "time"}, 1266: {0, "timetz"}, 1186: {0, "interval"},
}

const (
	numericOID  = 1700
	firstOwnOID = 16384 // from here on types are made by users: enumerations, citext
)

func (c *postgresCursor) columns(want map[string]Type) ([]Field, error) {
	described := c.result.FieldDescriptions()
	if described == nil { // an error of the query, or no rows by its nature
		if _, err := c.result.Close(); err != nil {
			return nil, err
		}
	}
	out := make([]Field, len(described))
	for i, d := range described {
		t := postgresTypes[d.DataTypeOID].typ
		switch {
		case d.DataTypeOID >= firstOwnOID:
			t = String
		case d.DataTypeOID == numericOID && want[d.Name] == String:
			t = String // keeps all digits
		case d.DataTypeOID == numericOID && wholeNumeric(d.TypeModifier):
			t = Int
		}
		out[i] = Field{d.Name, t}
	}
	return out, nil
}

// wholeNumeric says whether a numeric(p,s) is an integer of at most 18 digits.
func wholeNumeric(modifier int32) bool {
	m := modifier - 4
	return modifier >= 4 && m>>16&0xffff <= 18 && m&0x7ff == 0
}

func (c *postgresCursor) typeName(i int) string {
	oid := c.result.FieldDescriptions()[i].DataTypeOID
	if t, ok := postgresTypes[oid]; ok {
		return t.name
	}
	return fmt.Sprintf("number %d (an array or another that is no single value)", oid)
}

func (c *postgresCursor) next() (bool, error) {
	if c.result.NextRow() {
		c.row = c.result.Values()
		return true, nil
	}
	_, err := c.result.Close()
	return false, err
}

func (c *postgresCursor) add(i int, b *builder) bool {
	switch v := c.row[i]; {
	case v == nil:
		b.absent()
	case b.Type != String:
		return b.parse(trim(v))
	case !utf8.Valid(v):
		return false
	default:
		b.addText(v)
	}
	return true
}

func (c *postgresCursor) text(i int) string { return string(c.row[i]) }

func (c *postgresCursor) close() error {
	var err error
	if c.result != nil {
		_, err = c.result.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, c.conn.Close(ctx))
}

func explainPostgres(err error) (what, cure string) {
	if e := new(pgconn.PgError); errors.As(err, &e) {
		what = fmt.Sprintf("the database says: %s (%s)", e.Message, e.Code)
		switch {
		case strings.HasPrefix(e.Code, "28"):
			cure = "correct user and password in the address"
		case e.Code == "3D000":
			cure = "correct the name of the database in the address"
		case e.Code == "25006":
			cure = "use a query that only reads"
		case e.Code == "42501":
			cure = "let this user of the database read the table"
		case strings.HasPrefix(e.Code, "42"), strings.HasPrefix(e.Code, "22"):
			cure = "correct the query"
		}
		return what, cure
	}
	if strings.Contains(err.Error(), "server refused TLS") {
		return "the database does not speak TLS", "switch TLS on at the database, or say tls=off in the address if the network may read the data"
	}
	return "no connection: " + err.Error(), certificateCure(err)
}

func certificateCure(err error) string {
	if e := new(tls.CertificateVerificationError); errors.As(err, &e) {
		return "name the file with the database's certificate authority as tls_ca in the address"
	}
	return ""
}
