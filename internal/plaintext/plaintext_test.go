package plaintext_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/plaintext"
)

func TestRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, want string
		problem          string // part of the error; "" for none
	}{
		{name: "empty"},
		{name: "ASCII", text: "a,b\n", want: "a,b\n"},
		{name: "UTF-8", text: "Größe", want: "Größe"},
		{name: "byte order mark", text: "\xef\xbb\xbfa", want: "a"},
		{name: "only a byte order mark", text: "\xef\xbb\xbf"},
		{name: "Latin-1", text: "id,site\na,M\xfcnchen\n", problem: "line 2, column 4: byte 0xFC is not UTF-8"},
		{name: "columns are characters", text: "Größe M\xfcnchen", problem: "line 1, column 8: byte 0xFC"},
		{name: "cut character", text: "a\xc3", problem: "line 1, column 2: byte 0xC3"},
		{name: "a replacement character is text", text: "a\ufffd", want: "a\ufffd"},
		{name: "UTF-16, little end first", text: "\xff\xfea\x00", problem: "line 1, column 1: is UTF-16"},
		{name: "UTF-16, big end first", text: "\xfe\xff\x00a", problem: "iconv -f UTF-16 -t UTF-8"},
		{name: "UTF-16 without its mark", text: "a\x00b\x00", problem: "is UTF-16"},
	}
	for _, tt := range tests {
		got, err := plaintext.Read([]byte(tt.text))
		if tt.problem == "" && (err != nil || string(got) != tt.want) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		if _, ok := errors.AsType[*plaintext.Error](err); tt.problem != "" && (!ok || !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.problem)
		}
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	text := []byte("aü\nb")
	for offset, want := range map[int][2]int{-1: {1, 1}, 0: {1, 1}, 1: {1, 2}, 3: {1, 3}, 4: {2, 1}, 5: {2, 2}, 99: {2, 2}} {
		if line, column := plaintext.Position(text, offset); line != want[0] || column != want[1] {
			t.Errorf("offset %d: line %d, column %d, want %v", offset, line, column, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"provisioningStatus", "allocationPolicy", "iotHubs", "etag", "tags"}
	for word, want := range map[string]string{
		"provisionigStatus": "provisioningStatus", "PROVISIONINGSTATUS": "provisioningStatus", "iothub": "iotHubs",
		"etga": "etag", "tagss": "tags", "colour": "", "": "", strings.Repeat("a", 100): "",
	} {
		if got := plaintext.Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if got := plaintext.Nearest("host-name", []string{"dps-name", "hub-name"}); got != "hub-name" {
		t.Errorf("of two equally near: %q", got)
	}
	if got := plaintext.DidYouMean("tgas", known); got != `; did you mean "tags"?` {
		t.Errorf("hint %q", got)
	}
	if got := plaintext.DidYouMean("colour", known); got != "" {
		t.Errorf("hint %q", got)
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"", "a\n", "\xef\xbb\xbfa", "M\xfcnchen", "\xff\xfea\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := plaintext.Read(text)
		if err == nil && !utf8.Valid(got) {
			t.Fatalf("%q was taken for UTF-8", text)
		}
		if problem, ok := errors.AsType[*plaintext.Error](err); err != nil && (!ok || problem.Line < 1 || problem.Column < 1) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
