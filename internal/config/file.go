package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mooring-iot/mooring/internal/plaintext"
)

// parseFile reads a YAML file of settings, strictly: one document, a mapping of known
// keys, each once, to plain values. It returns what each field got and the problems
// that belong to no field. name is used in messages.
func parseFile(name string, content []byte) (map[string]*given, []error) {
	if !plaintext.IsUTF16(content) { // which YAML may be
		var err error
		if content, err = plaintext.Read(content); err != nil {
			return nil, []error{fmt.Errorf("%s %w", name, err)}
		}
	}
	root, err := parseYAML(content)
	if err != nil {
		return nil, []error{yamlError(name, err)}
	}
	if root == nil {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, []error{fmt.Errorf("%s line %d: must consist of lines of the form key: value", name, root.Line)}
	}
	known := fileFields()
	found := make(map[string]*given)
	lines := make(map[string]int)
	var problems []error
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		f, ok := known[key.Value]
		at := fmt.Sprintf("%s line %d: ", name, key.Line)
		switch {
		case key.Kind != yaml.ScalarNode:
			problems = append(problems, errors.New(at+"a key must be a plain word"))
		case !ok:
			hint := plaintext.DidYouMean(key.Value, slices.Sorted(maps.Keys(known)))
			problems = append(problems, fmt.Errorf("%sunknown key %q%s", at, key.Value, hint))
		case lines[f.Name] > 0:
			problems = append(problems, fmt.Errorf("%s%s: duplicate key, first in line %d", at, f.Name, lines[f.Name]))
		default:
			lines[f.Name] = key.Line
			found[f.Name] = f.fromNode(at, value)
		}
	}
	return found, problems
}

// fileFields returns the fields that a file may have, by key.
func fileFields() map[string]field {
	known := make(map[string]field)
	for _, f := range fields() {
		if f.InFile {
			known[f.Name] = f
		}
	}
	return known
}

// fromNode takes a plain value, or a list of them where the field is a list.
func (f field) fromNode(at string, node *yaml.Node) *given {
	g := &given{source: at + f.Name}
	items := []*yaml.Node{node}
	if f.List && node.Kind == yaml.SequenceNode && node.Style&yaml.TaggedStyle == 0 {
		items = node.Content
	}
	if len(items) == 0 {
		g.err = errors.New("is an empty list")
	}
	for _, item := range items {
		value, err := plain(item)
		if err != nil {
			g.err = err
			return g
		}
		g.values = append(g.values, value)
	}
	return g
}

// plain returns the text of a value as it stands in the file: off stays "off".
func plain(node *yaml.Node) (string, error) {
	if node.Kind != yaml.ScalarNode || node.Style&yaml.TaggedStyle != 0 {
		return "", errors.New("must be a plain value")
	}
	if node.ShortTag() == "!!null" {
		return "", errors.New("has no value; remove the line for the default")
	}
	return node.Value, nil
}

// parseYAML returns the root of the only document, or nil if there is nothing in it.
func parseYAML(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, more yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("line %d: more than one YAML document", more.Line)
		}
		return nil, err
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	return root, nil
}

// yamlError gives "yaml: line 3: ..." the form of our own messages, on one line.
func yamlError(name string, err error) error {
	text := strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: ")
	if strings.HasPrefix(text, "line ") {
		return fmt.Errorf("%s %s", name, text)
	}
	return fmt.Errorf("%s: %s", name, text)
}
