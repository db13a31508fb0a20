package portal

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

func certificateURL(name string) string { return "/certificates/" + url.PathEscape(name) }

func policyURL(name string) string { return "/policies/" + url.PathEscape(name) }

// maxCAFile bounds the CA file, in bytes.
const maxCAFile = 1 << 20

// readCA returns the certificates of the CA file.
func readCA(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	return onlyCertificates(text), nil
}
