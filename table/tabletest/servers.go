//go:build unix

package tabletest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	userName = "reader"
	password = "p@ss/w:rd-7f3a"
	escaped  = "p%40ss%2Fw%3Ard-7f3a"
)

// Postgres starts PostgreSQL and runs the statements in it.
func Postgres(t testing.TB, statements ...string) Server {
	t.Helper()
	initdb := find(t, "PostgreSQL", "initdb")
	server := filepath.Join(filepath.Dir(initdb), "postgres")
	as := unprivileged(t)
	dir := room(t, as)
	s := Server{User: userName, Password: escaped, Database: "postgres", Socket: dir, Port: freePort(t), scheme: "postgres"}
	cert, key := certificate(t, as, dir)
	s.CA = cert
	secret := filepath.Join(dir, "pw")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	give(t, as, secret)
	data := filepath.Join(dir, "data")
	run(t, command(as, dir, initdb, "-D", data, "-U", s.User, "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--no-locale", "--no-sync"))
	cmd := command(as, dir, server, "-D", data, "-k", dir, "-p", fmt.Sprint(s.Port), "-h", "127.0.0.1", "-F",
		"-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
	connect := func() (*pgconn.PgConn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return pgconn.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s password='%s' dbname=postgres sslmode=disable", dir, s.Port, s.User, password))
	}
	serve(t, cmd, syscall.SIGINT, func() error {
		c, err := connect()
		if err != nil {
			return err
		}
		return c.Close(context.Background())
	})
	s.exec = func(q string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		defer c.Close(context.Background())
		_, err = c.Exec(context.Background(), q).ReadAll()
		return err
	}
	s.Exec(t, statements...)
	s.Socket += fmt.Sprintf("&port=%d", s.Port)
	return s
}

// MySQL starts MariaDB or MySQL and runs the statements in it.
func MySQL(t testing.TB, statements ...string) Server {
	t.Helper()
	server := find(t, "MariaDB", "mariadbd", "mysqld")
	install := find(t, "MariaDB", "mariadb-install-db", "mysql_install_db")
	as := unprivileged(t)
	dir := room(t, as)
	cert, key := certificate(t, as, dir)
	s := Server{User: userName, Password: escaped, Database: "bank", Socket: filepath.Join(dir, "s"), Port: freePort(t), CA: cert, scheme: "mysql"}
	data := filepath.Join(dir, "data")
	run(t, command(as, dir, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"))
	cmd := command(as, dir, server, "--no-defaults", "--datadir="+data, "--socket="+s.Socket, "--pid-file="+filepath.Join(dir, "pid"),
		"--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", s.Port), "--ssl-cert="+cert, "--ssl-key="+key,
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M", "--skip-name-resolve")
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.Logger = "root", "unix", s.Socket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // USE holds for a connection
	serve(t, cmd, syscall.SIGKILL, db.Ping)
	first := []string{"CREATE DATABASE bank CHARACTER SET utf8mb4", "USE bank"}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		who := fmt.Sprintf("'%s'@'%s'", s.User, host)
		first = append(first, "CREATE USER "+who+" IDENTIFIED BY '"+password+"'", "GRANT ALL ON bank.* TO "+who)
	}
	s.exec = func(q string) error { _, err := db.Exec(q); return err }
	s.Exec(t, append(first, statements...)...)
	return s
}

// certificate writes a certificate for localhost and its key.
func certificate(t testing.TB, as *syscall.Credential, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		give(t, as, path)
	}
	return cert, key
}
