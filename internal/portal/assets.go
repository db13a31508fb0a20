package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed assets/vendor assets/icons assets/*.js assets/*.css assets/*.svg
var assetFiles embed.FS

// assets are the files beside the pages. Each is named with a hash of what is in it, so
// that browsers may keep it for good.
type assets struct {
	files map[string]asset         // by URL
	urls  map[string]string        // by name
	icons map[string]template.HTML // by name
}

// asset is a file as it is sent.
type asset struct {
	kind  string
	plain []byte
	zip   []byte
}

// kinds are the media types of the files.
var kinds = map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

func loadAssets() (*assets, error) {
	a := &assets{files: make(map[string]asset), urls: make(map[string]string), icons: make(map[string]template.HTML)}
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		kind, served := kinds[path.Ext(name)]
		switch {
		case strings.HasPrefix(name, "assets/icons/"):
			a.addIcon(strings.TrimSuffix(path.Base(name), ".svg"), string(text))
		case served:
			return a.add(strings.TrimPrefix(name, "assets/"), kind, text)
		}
		return nil
	})
	return a, err
}

func (a *assets) add(name, kind string, text []byte) error {
	var zip bytes.Buffer
	w, err := gzip.NewWriterLevel(&zip, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	const hashLength = 8
	url := "/assets/" + hex.EncodeToString(sum[:hashLength]) + "/" + path.Base(name)
	a.files[url], a.urls[path.Base(name)] = asset{kind: kind, plain: text, zip: zip.Bytes()}, url
	return nil
}

// addIcon keeps the drawing of an icon; its frame is the same for all.
func (a *assets) addIcon(name, svg string) {
	_, drawing, _ := strings.Cut(svg, ">")
	drawing, _, _ = strings.Cut(drawing, "</svg>")
	a.icons[name] = template.HTML(
		`<svg class="icon" viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" ` + //nolint:gosec // a file of ours
			`stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">` +
			strings.Join(strings.Fields(drawing), " ") + `</svg>`,
	)
}

// url returns where a file is found.
func (a *assets) url(name string) (string, error) {
	u, ok := a.urls[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return u, nil
}

// icon returns the drawing of an icon.
func (a *assets) icon(name string) (template.HTML, error) {
	i, ok := a.icons[name]
	if !ok {
		return "", fmt.Errorf("there is no icon %q", name)
	}
	return i, nil
}

// ServeHTTP sends a file.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := a.files[r.URL.Path]
	if !ok {
		http.Error(w, "There is no such file.", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(f.zip) // a browser that has gone is no failure of ours
		return
	}
	_, _ = w.Write(f.plain)
}
