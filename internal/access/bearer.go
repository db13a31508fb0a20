package access

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// TokenLifetime is how long a token for the control plane is good.
const TokenLifetime = time.Hour

// Names in the tokens that an instance signs.
const (
	tokenIssuer   = "mooring"
	tokenAudience = "mooring/control-plane/"
)

// badBearer is the answer to every caller without a valid token.
const badBearer = "The bearer token is missing, expired or from another service; get a new one with `mooring info --json`."

// maxBearer bounds an Authorization header of the control plane.
const maxBearer = 8 << 10

// NewToken returns a bearer token for the control plane of an instance.
func NewToken(in dps.Instance, now time.Time) (string, error) {
	claims := jwt.RegisteredClaims{
		Issuer: tokenIssuer, Subject: "operator", Audience: jwt.ClaimStrings{tokenAudience + string(in.ID)},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(TokenLifetime)), ID: uuid.NewString(),
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(in.TokenKey.Reveal())
}

// Control lets a request pass that carries a token of the instance, and notes whose
// change it is, if it is one. It fails with Unauthorized, or InstanceNotFound.
func (g *Guard) Control(r *http.Request, id dps.InstanceID) error {
	in, err := g.store.Instance(r.Context(), id)
	if err != nil {
		return err
	}
	header := r.Header.Get("Authorization")
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(header) > maxBearer {
		return dps.Wrap(dps.Unauthorized, errors.New("no bearer token"), badBearer)
	}
	if in.TokenKey.IsZero() { // by which anybody could sign
		return dps.Wrap(dps.Unauthorized, errors.New("the instance has no key for tokens"), badBearer)
	}
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(strings.TrimSpace(text), &claims, func(*jwt.Token) (any, error) { return in.TokenKey.Reveal(), nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(tokenIssuer),
		jwt.WithAudience(tokenAudience+string(id)), jwt.WithExpirationRequired(), jwt.WithTimeFunc(g.now))
	if err != nil {
		return dps.Wrap(dps.Unauthorized, err, badBearer)
	}
	audit.From(r.Context()).Allow(audit.ByToken(claims.Subject))
	return nil
}
