package portal

import (
	"context"
	"slices"
)

// notes are the warnings that the APIs answered with while a page was made.
type notes struct{ texts []string }

// notesKey is the context key of *notes.
type notesKey struct{}

// Warn keeps a warning of an API for the person on whose behalf the call with ctx was made.
// Outside of a request of the portal it does nothing.
func Warn(ctx context.Context, text string) {
	if n, ok := ctx.Value(notesKey{}).(*notes); ok && !slices.Contains(n.texts, text) {
		n.texts = append(n.texts, text)
	}
}

// warningNames are what people call the fields that warnings are about.
var warningNames = map[string]string{
	"primary": "Primary certificate: ", "secondary": "Secondary certificate: ", "primaryCA": "Primary CA: ", "secondaryCA": "Secondary CA: ",
}

// notedViews are the pages of the records that warnings are about.
var notedViews = []string{"enrollment", "certificate"}

// notesFor returns the warnings that a page shows: those about its record.
func notesFor(ctx context.Context, view string) (all []string) {
	n, ok := ctx.Value(notesKey{}).(*notes)
	if !ok || !slices.Contains(notedViews, view) {
		return nil
	}
	for _, text := range n.texts {
		member, rule := fieldOf(text)
		if name := warningNames[fieldFor(member)]; name != "" {
			all = append(all, name+rule+".")
		} else {
			all = append(all, upperFirst(rule)+".")
		}
	}
	return all
}
