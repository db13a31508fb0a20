package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"
)

// certificateName is what the CA certificate of the walk is called.
const certificateName = "arm-ca"

// proof uploads a CA certificate, proves possession of its key and deletes it.
func (w *walk) proof(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	root, err := issue("ARM Root", nil, key, key)
	if err != nil {
		return err
	}
	uploaded, err := w.certificates.CreateOrUpdate(ctx, group, name, certificateName, arms.CertificateResponse{
		Properties: &arms.CertificateProperties{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})},
	}, nil)
	if err != nil {
		return err
	}
	err = errors.Join(expect("subject", uploaded.Properties.Subject, "ARM Root"), expect("verified", uploaded.Properties.IsVerified, false),
		expectTime("expiry", uploaded.Properties.Expiry, root.NotAfter))
	if err != nil {
		return err
	}
	if err := w.prove(ctx, root, key, *uploaded.Etag); err != nil {
		return err
	}
	got, err := w.certificates.Get(ctx, certificateName, group, name, nil)
	if err != nil {
		return err
	}
	list, err := w.certificates.List(ctx, group, name, nil)
	if err != nil || len(list.Value) != 1 {
		return fmt.Errorf("%d certificates: %w", len(list.Value), errOrNone(err))
	}
	if err := errors.Join(expect("verified", got.Properties.IsVerified, true), expect("name", list.Value[0].Name, certificateName)); err != nil {
		return err
	}
	if _, err := w.certificates.Delete(ctx, group, *got.Etag, name, certificateName, nil); err != nil {
		return err
	}
	_, err = w.certificates.Get(ctx, certificateName, group, name, nil)
	return refused("a deleted certificate", err, http.StatusNotFound, "ResourceNotFound", certificateName)
}

// prove does the proof of possession, first with a wrong name and a stale etag.
func (w *walk) prove(ctx context.Context, root *x509.Certificate, key *ecdsa.PrivateKey, etag string) error {
	code, err := w.certificates.GenerateVerificationCode(ctx, certificateName, etag, group, name, nil)
	if err != nil {
		return err
	}
	verify := func(commonName, etag string) (arms.DpsCertificateClientVerifyCertificateResponse, error) {
		leaf, err := issue(commonName, root, key, key)
		if err != nil {
			return arms.DpsCertificateClientVerifyCertificateResponse{}, err
		}
		request := arms.VerificationCodeRequest{Certificate: to.Ptr(base64.StdEncoding.EncodeToString(leaf.Raw))}
		return w.certificates.VerifyCertificate(ctx, certificateName, etag, group, name, request, nil)
	}
	_, wrongName := verify("someone else", *code.Etag)
	_, stale := verify(*code.Properties.VerificationCode, etag)
	verified, err := verify(*code.Properties.VerificationCode, *code.Etag)
	if err != nil {
		return err
	}
	return errors.Join(
		refused("a wrong name", wrongName, http.StatusBadRequest, "InvalidArgument", "verification code"),
		refused("a stale etag", stale, http.StatusPreconditionFailed, "PreconditionFailed", ""),
		expect("verified", verified.Properties.IsVerified, true),
	)
}

// issue returns a certificate signed by parent, or by itself when parent is nil.
func issue(commonName string, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	now := time.Now().Truncate(time.Second).UTC()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true, IsCA: parent == nil,
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
