package bench

import "context"

// Inside of the package, for its tests.
var (
	Percentile  = percentile
	Median      = median
	KindOf      = kindOf
	ReadMetrics = readMetrics
)

// NewRefusal returns a refusal by the service.
func NewRefusal(kind string) error { return &refusal{kind: kind, detail: "detail"} }

// Collections of the service API.
const (
	Individuals = individuals
	Groups      = groups
)

// Enrollments is Service.enrollments.
func (s *Service) Enrollments(t interface{ Context() context.Context }, method, path, id string) error {
	return s.enrollments(t.Context(), method, path, id, nil)
}

// Certificate gets a CA certificate.
func (s *Service) Certificate(t interface{ Context() context.Context }, name string) error {
	_, err := s.certificate(t.Context(), "GET", name, "", nil)
	return err
}

// StatusOf is statusOf.
func StatusOf(err error) int { return statusOf(err) }
