package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mooring-iot/mooring/internal/plaintext"
)

// maxTextFile bounds a file that holds the value of a flag, in bytes.
const maxTextFile = 1 << 20

// textOrFile returns the value of a flag, or of the file that it names with @. It is
// UTF-8; a byte order mark is left out.
func textOrFile(flag, value string) (string, error) {
	path, named := strings.CutPrefix(value, "@")
	if !named {
		text, err := plaintext.Read([]byte(value))
		if err != nil {
			return "", fmt.Errorf("%s: %w", flag, err)
		}
		return string(text), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTextFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(raw) > maxTextFile {
		return "", fmt.Errorf("%s: %s is larger than %d bytes", flag, path, maxTextFile)
	}
	text, err := plaintext.Read(raw)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", flag, path, err)
	}
	return string(text), nil
}

// jsonText returns text as JSON on one line. As az iot dps does, it takes an object in
// the notation of Python too: single quotes, True, False and None.
func jsonText(text string) (json.RawMessage, error) {
	raw := []byte(text)
	var value any
	err := json.Unmarshal(raw, &value)
	if err != nil {
		if python := fromPython(text); json.Valid(python) {
			raw, err = python, nil
		}
	}
	if err != nil {
		return nil, jsonError(raw, err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// jsonError says where text is not JSON, and why that may be.
func jsonError(text []byte, err error) error {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return err
	}
	at := int(syntax.Offset) - 1
	line, column := plaintext.Position(text, at)
	before := bytes.TrimSpace(text[:max(0, min(at, len(text)))])
	switch {
	case at < 0 || int(syntax.Offset) >= len(text) && strings.Contains(syntax.Error(), "unexpected end"):
		return errors.New("is not JSON: it is incomplete")
	case (text[at] == '}' || text[at] == ']') && bytes.HasSuffix(before, []byte(",")):
		return fmt.Errorf("is not JSON: line %d, column %d: remove the comma before %c", line, column, text[at])
	case (bytes.HasSuffix(before, []byte("{")) || bytes.HasSuffix(before, []byte(","))) && unicode.IsLetter(rune(text[at])):
		return fmt.Errorf("is not JSON: line %d, column %d: a name needs double quotes, which the shell may have removed; "+
			"put the JSON in a file and give @FILE", line, column)
	default:
		return fmt.Errorf("is not JSON: line %d, column %d: %w", line, column, syntax)
	}
}

// fromPython puts JSON in place of the notation of Python: strings in single quotes, and
// the words True, False and None outside strings. The result need not be JSON.
func fromPython(text string) []byte {
	var out []byte
	for len(text) > 0 {
		c := text[0]
		if c == '\'' || c == '"' {
			var quoted []byte
			quoted, text = pythonString(text)
			out = append(out, quoted...)
			continue
		}
		word, json := pythonWord(text)
		out = append(out, json...)
		text = text[len(word):]
	}
	return out
}

// pythonWord returns the first word or character of text, and how JSON writes it.
func pythonWord(text string) (word, json string) {
	for _, w := range [][2]string{{"True", "true"}, {"False", "false"}, {"None", "null"}} {
		if strings.HasPrefix(text, w[0]) {
			return w[0], w[1]
		}
	}
	return text[:1], text[:1]
}

// pythonString returns the string that text begins with, in double quotes, and the rest.
func pythonString(text string) ([]byte, string) {
	quote := text[0]
	out := []byte{'"'}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return append(out, '"'), text[i+1:]
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] != '\'' {
				out = append(out, '\\')
			}
			out = append(out, text[i])
		case c == '"':
			out = append(out, '\\', '"')
		default:
			out = append(out, c)
		}
	}
	return out, ""
}

// objectText returns a JSON object on one line, "" for nothing or null.
func objectText(text string) (string, error) {
	if text = strings.TrimSpace(text); text == "" || text == "null" {
		return "", nil
	}
	raw, err := jsonText(text)
	if err != nil {
		if info, fault := os.Stat(text); fault == nil && info.Mode().IsRegular() {
			return "", fmt.Errorf("is the name of a file; write @%s for its content", text)
		}
		return "", err
	}
	if raw[0] != '{' {
		return "", errors.New("must be a JSON object")
	}
	return string(raw), nil
}
