package pki

// WriteFiles writes empty files at paths, all or none, as Write does with its own.
func WriteFiles(paths ...string) error {
	var files []pendingFile
	for _, p := range paths {
		files = append(files, pendingFile{path: p, mode: 0o600})
	}
	return writeAll(files)
}
