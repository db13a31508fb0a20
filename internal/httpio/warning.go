package httpio

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/wire"
)

// Bounds of the warnings of one answer. Node.js takes 16 KB of headers.
const (
	maxWarnings    = 8
	maxWarningSize = 500 // bytes
)

// Warn adds warnings to an answer, before it is written: what was asked for is done,
// and may not have the effect that is wanted. Each becomes a header line in ASCII. Of
// many, the last line says that there are more. It can be called several times.
func Warn(w http.ResponseWriter, warnings ...string) {
	for _, text := range warnings {
		switch n := len(w.Header().Values(wire.HeaderWarning)); n {
		case maxWarnings:
			return
		case maxWarnings - 1:
			w.Header().Add(wire.HeaderWarning, "there are more warnings, which are not shown")
		default:
			w.Header().Add(wire.HeaderWarning, headerText(text))
		}
	}
}

// headerText returns text as a header can hold it: characters outside ASCII are
// escaped as in JSON.
func headerText(text string) string {
	var b strings.Builder
	for _, c := range text {
		part := string(c)
		if c < ' ' || c > '~' {
			part = escaped(c)
		}
		if b.Len()+len(part) > maxWarningSize-len("...") {
			return b.String() + "..."
		}
		b.WriteString(part)
	}
	return b.String()
}

func escaped(c rune) string {
	const basicPlane = 0xffff
	if c > basicPlane {
		return fmt.Sprintf(`\U%08x`, c)
	}
	return fmt.Sprintf(`\u%04x`, c)
}
