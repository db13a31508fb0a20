package dps

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
)

// CheckNumbers refuses JSON with a number that readers cannot hold in 64 bits of
// floating point: too large (1e999), or so close to zero that it becomes zero
// (1e-999). raw is JSON of any shape, or empty. It fails with Invalid.
func CheckNumbers(field string, raw json.RawMessage) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return Invalidf(field, "must be JSON")
		}
		if n, ok := token.(json.Number); ok {
			if err := checkFloat(field, n); err != nil {
				return err
			}
		}
	}
}

func checkFloat(field string, n json.Number) error {
	f, err := n.Float64()
	if err != nil {
		return Invalidf(field, "must have numbers between %g and %g", -math.MaxFloat64, math.MaxFloat64)
	}
	digits, _, _ := strings.Cut(strings.ToLower(n.String()), "e")
	if f == 0 && strings.ContainsAny(digits, "123456789") {
		return Invalidf(field, "must have numbers that are 0 or at least %g in size", math.SmallestNonzeroFloat64)
	}
	return nil
}
