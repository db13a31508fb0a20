package bench

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/sas"
)

// device is one device, with everything made beforehand that it needs to register.
type device struct {
	id          string
	certificate *tls.Certificate // nil for one with a key
	key         []byte           // nil for one with a certificate
	token       string           // SAS token of key
}

func deviceName(run string, i int) string { return fmt.Sprintf("bench-%s-%06d", run, i) }

// certified makes a device with a certificate by issuer; self-signed without one.
func certified(id string, issuer *pki.Issuer) (device, error) {
	issued, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: id, Issuer: issuer})
	if err != nil {
		return device{}, err
	}
	c := issued.TLSCertificate()
	return device{id: id, certificate: &c}, nil
}

// keyed makes a device with a symmetric key.
func keyed(scope, id string, key []byte) device {
	token := sas.Sign(scope+"/registrations/"+id, "registration", key, time.Now().Add(tokenLife))
	return device{id: id, key: key, token: token}
}
