package table

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
)

// mysqlCursor implements cursor. The query is prepared, because a FLOAT comes
// whole only in the binary form that prepared queries have.
type mysqlCursor struct {
	db    *sql.DB
	tx    *sql.Tx
	stmt  *sql.Stmt
	rows  *sql.Rows
	types []*sql.ColumnType
	row   []any
	into  []any // pointers to row
}

func askMySQL(ctx context.Context, a address, t *tls.Config, query string) (cursor, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = a.user, a.pass, a.db
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(a.host, a.port)
	if a.socket != "" {
		cfg.Net, cfg.Addr = "unix", a.socket
	}
	cfg.TLS, cfg.Timeout = t, connectTimeout
	cfg.Params = map[string]string{"time_zone": "'+00:00'"}
	cfg.Logger = &mysql.NopLogger{} // errors come back; nothing is written behind our back
	// The driver stops watching the context when rows are closed, and then reads all
	// that is left of them; without a connection it cannot.
	cfg.DialFunc = func(dialing context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, addr)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	c := &mysqlCursor{db: sql.OpenDB(connector)}
	if err := c.ask(ctx, query); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *mysqlCursor) ask(ctx context.Context, query string) (err error) {
	if c.tx, err = c.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return err
	}
	if c.stmt, err = c.tx.PrepareContext(ctx, query); err != nil {
		return err
	}
	if c.rows, err = c.stmt.QueryContext(ctx); err != nil {
		return err
	}
	if c.types, err = c.rows.ColumnTypes(); err != nil {
		return err
	}
	c.row, c.into = make([]any, len(c.types)), make([]any, len(c.types))
	for i := range c.row {
		c.into[i] = &c.row[i]
	}
	return c.rows.Err()
}

func (c *mysqlCursor) columns(want map[string]Type) ([]Field, error) {
	out := make([]Field, len(c.types))
	for i, t := range c.types {
		out[i] = Field{t.Name(), mysqlType(t, want[t.Name()])}
	}
	return out, nil
}

func mysqlType(t *sql.ColumnType, want Type) Type {
	switch name := strings.TrimPrefix(t.DatabaseTypeName(), "UNSIGNED "); name {
	case "BIGINT":
		if unsigned := name != t.DatabaseTypeName(); unsigned && (want == Float || want == String) {
			return want // holds what an int64 does not
		}
		return Int
	case "TINYINT", "SMALLINT", "MEDIUMINT", "INT", "YEAR":
		return Int
	case "FLOAT", "DOUBLE":
		return Float
	case "DECIMAL":
		precision, scale, ok := t.DecimalSize()
		switch {
		case want == String:
			return String // keeps all digits
		case ok && scale == 0 && precision <= 18:
			return Int
		}
		return Float
	case "DATE", "DATETIME", "TIMESTAMP":
		return Time
	case "CHAR", "VARCHAR", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "ENUM", "SET", "JSON", "NULL":
		return String
	}
	return 0
}

func (c *mysqlCursor) typeName(i int) string { return c.types[i].DatabaseTypeName() }

func (c *mysqlCursor) next() (bool, error) {
	if !c.rows.Next() {
		return false, c.rows.Err()
	}
	return true, c.rows.Scan(c.into...)
}

func (c *mysqlCursor) add(i int, b *builder) bool {
	switch v := c.row[i].(type) {
	case nil:
		b.absent()
	case int64:
		return b.signed(v)
	case uint64:
		return b.whole(v)
	case float64:
		b.addFloat(v)
	case float32: // the decimal that the database shows, not the double next to it
		f, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
		b.addFloat(f)
		return err == nil
	case []byte:
		return b.cell(v)
	case string:
		return b.cell([]byte(v))
	default:
		return false
	}
	return true
}

func (b *builder) signed(v int64) bool {
	switch b.Type {
	case Int:
		b.addInt(v)
	case Float:
		b.addFloat(float64(v))
	case String:
		b.addText(strconv.AppendInt(nil, v, 10))
	default:
		return false
	}
	return true
}

// whole adds an unsigned number.
func (b *builder) whole(v uint64) bool {
	switch {
	case b.Type == Float:
		b.addFloat(float64(v))
	case b.Type == String:
		b.addText(strconv.AppendUint(nil, v, 10))
	case v > math.MaxInt64:
		return false
	default:
		b.addInt(int64(v))
	}
	return true
}

// cell adds a value that came as text. MySQL's zero date is how some tables say
// that there is none.
func (b *builder) cell(v []byte) bool {
	switch {
	case b.Type == Time && bytes.HasPrefix(v, []byte("0000-00-00")):
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

func (c *mysqlCursor) text(i int) string {
	if b, ok := c.row[i].([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(c.row[i])
}

func (c *mysqlCursor) close() error {
	var errs []error
	if c.rows != nil {
		errs = append(errs, c.rows.Close())
	}
	if c.stmt != nil {
		errs = append(errs, c.stmt.Close())
	}
	if c.tx != nil {
		errs = append(errs, c.tx.Rollback())
	}
	return errors.Join(append(errs, c.db.Close())...)
}

func explainMySQL(err error) (what, cure string) {
	if e := new(mysql.MySQLError); errors.As(err, &e) {
		switch e.Number {
		case 1044, 1045, 1698:
			cure = "correct user and password in the address, and what this user may read"
		case 1049:
			cure = "correct the name of the database in the address"
		case 1142, 1143:
			cure = "let this user of the database read the table"
		case 1792:
			cure = "use a query that only reads"
		default:
			cure = "correct the query"
		}
		return fmt.Sprintf("the database says: %s (%d)", e.Message, e.Number), cure
	}
	if errors.Is(err, mysql.ErrNoTLS) {
		return "the database does not speak TLS", "switch TLS on at the database, or say tls=off in the address if the network may read the data"
	}
	return "no connection: " + err.Error(), certificateCure(err)
}
