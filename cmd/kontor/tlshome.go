package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"

	"kontor/internal/fault"
	"kontor/node/config"
)

// homeClient returns a client for the API of the node of this folder; nil for the
// usual one. An API with TLS must show the very certificate that the folder's
// configuration names, whatever name it was made for.
func homeClient(home, scheme string) (*http.Client, error) {
	if scheme != "https" {
		return nil, nil
	}
	cfg, err := config.Load(home)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(cfg.API.TLSCert)
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the certificate of the node's API cannot be read", "check api: tls_cert in "+config.FileName)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fault.New(fault.Local, cfg.API.TLSCert+" holds no certificate in PEM form", "check api: tls_cert in "+config.FileName)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.Proxy = nil
	tr.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // replaced by the comparison below, which is stricter
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !bytes.Equal(raw[0], block.Bytes) {
				return errors.New("what answers there does not show the certificate of this node")
			}
			return nil
		},
	}
	return &http.Client{Transport: tr}, nil
}
