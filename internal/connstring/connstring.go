// Package connstring reads the connection strings of Azure IoT:
//
//	HostName=...;SharedAccessKeyName=...;SharedAccessKey=...
//
// It knows their form. What their values may be is for the caller to say.
package connstring

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// Names of fields.
const (
	HostName        = "HostName"
	GatewayHostName = "GatewayHostName" // what is dialled instead of HostName
	KeyName         = "SharedAccessKeyName"
	Key             = "SharedAccessKey" // in base64
)

// maxFields bounds a connection string; those of Azure have at most five.
const maxFields = 16

// ErrForm says that a text has not the form of a connection string. Neither it nor any other error
// of this package repeats the text: there is a key in it.
var ErrForm = errors.New("connection string: must be name=value, separated by ;, each name once")

// ErrKey says that the key is absent or no base64.
var ErrKey = errors.New("connection string: SharedAccessKey must be base64")

// Field is one name=value. Both have no space around them.
type Field struct{ Name, Value string }

// Is reports whether f has that name, whatever its case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Fields are those of one connection string, in its order.
type Fields []Field

// Parse takes a connection string apart. The names may be unknown, in any case and order; a
// semicolon may end the text. It fails with ErrForm.
func Parse(text string) (Fields, error) {
	var fields Fields
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(text), ";"), ";") {
		name, value, ok := strings.Cut(part, "=")
		f := Field{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)}
		if !ok || slices.ContainsFunc(fields, func(other Field) bool { return other.Is(f.Name) }) || len(fields) == maxFields {
			return nil, ErrForm
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// Get returns the value of the field with that name, and "" where there is none.
func (fs Fields) Get(name string) string {
	for _, f := range fs {
		if f.Is(name) {
			return f.Value
		}
	}
	return ""
}

// Key returns the decoded key, which is not empty. It fails with ErrKey.
func (fs Fields) Key() ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(fs.Get(Key))
	if err != nil || len(key) == 0 {
		return nil, ErrKey
	}
	return key, nil
}
