package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"kontor/internal/fault"
)

// The two files of an identity. Each holds a private key and the certificate
// that belongs to it, so that neither can be replaced without the other.
const (
	identityFile = "identity.pem"
	nodeFile     = "node.pem"
	maxFile      = 64 << 10
)

// Create makes a new identity in dir, which is created with mode 0700 if it does
// not exist. The error wraps [ErrExists] if dir holds one already; two that race
// never overwrite each other.
func Create(dir, name string, now time.Time) (*Identity, error) {
	id, err := generate(name, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the folder for the identity cannot be made", "choose a folder that you may write to")
	}
	data, err := encodePair(id.cert.Raw, id.key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(filepath.Join(dir, identityFile), data); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fault.Wrap(fault.Local, ErrExists, "in "+dir, "use it, or choose another folder; a new identity must be pinned again by every peer")
		}
		return nil, fault.Wrap(fault.Local, err, "the identity cannot be written", "check space and permissions of the folder")
	}
	id.dir = dir
	return id, id.Renew(now)
}

// Load reads the identity in dir. The error wraps [ErrNone] if there is none,
// [ErrExposed] if others than its owner may read a key, [ErrDamaged] if a file
// is not what was written. An identity without node certificate is loaded
// nevertheless; [Identity.Renew] makes one.
func Load(dir string) (*Identity, error) {
	der, key, err := readPair(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Local, ErrNone, "in "+dir, "create one first")
	}
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, damaged(identityFile, err.Error())
	}
	if !bytes.Equal(key.Public().(ed25519.PublicKey), publicKey(cert)) || !cert.IsCA {
		return nil, damaged(identityFile, "its certificate is of another key")
	}
	if CheckName(cert.Subject.CommonName) != nil {
		return nil, damaged(identityFile, "its name is not allowed")
	}
	id := &Identity{name: cert.Subject.CommonName, key: key, cert: cert, dir: dir}
	der, key, err = readPair(filepath.Join(dir, nodeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil // Create was interrupted, or the file was deleted to be made anew
	}
	if err != nil {
		return nil, err
	}
	node, err := id.nodeCertificate(der, key)
	if err != nil {
		return nil, damaged(nodeFile, err.Error())
	}
	if !bytes.Equal(key.Public().(ed25519.PublicKey), publicKey(node.Leaf)) || !signedBy(node.Leaf, id.PublicKey()) {
		return nil, damaged(nodeFile, "its certificate is not of this identity; delete the file to have it made anew")
	}
	id.node = node
	return id, nil
}

func damaged(file, why string) error {
	return fault.Wrap(fault.Local, fmt.Errorf("%w: %s: %s", ErrDamaged, file, why), "", "restore the file from a backup")
}

func (id *Identity) writeNode(node tls.Certificate) error {
	data, err := encodePair(node.Certificate[0], node.PrivateKey.(ed25519.PrivateKey))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(id.dir, nodeFile), data); err != nil {
		return fault.Wrap(fault.Local, err, "the node certificate cannot be written", "check space and permissions of the folder")
	}
	return nil
}

func encodePair(cert []byte, key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("identity: encoding a key: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}

// readPair returns the certificate (not parsed) and the key of a file. Its error
// is fs.ErrNotExist, unwrapped by any fault, if there is no file.
func readPair(path string) ([]byte, ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fault.Wrap(fault.Local, err, "the identity cannot be read", "check the permissions of the folder")
	}
	// Windows has no such mode bits; its folders inherit the user's protection.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fault.Wrap(fault.Local, fmt.Errorf("%w: %s has mode %04o", ErrExposed, path, info.Mode().Perm()), "",
			"run chmod 600 on it, and make a new identity if somebody may have copied the key")
	}
	data, err := readBounded(path)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Local, err, "the identity cannot be read", "check the permissions of the file")
	}
	file := filepath.Base(path)
	cert, rest := pem.Decode(data)
	keyBlock, rest := pem.Decode(rest)
	if cert == nil || keyBlock == nil || cert.Type != "CERTIFICATE" || keyBlock.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, nil, damaged(file, "it is not a certificate and a key")
	}
	k, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, damaged(file, "its key cannot be read")
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, nil, damaged(file, "its key is not an Ed25519 key")
	}
	return cert.Bytes, key, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file of up to %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

// writeFile replaces path whole or not at all, also across a power failure.
func writeFile(path string, data []byte) error {
	return write(path, data, os.Rename)
}

// writeNew is writeFile for a path that must not exist: a link, unlike a rename,
// fails if there is something.
func writeNew(path string, data []byte) error {
	return write(path, data, func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

func write(path string, data []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = place(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // a folder cannot be opened for syncing there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
