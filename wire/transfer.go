package wire

// Paths of import and export, which are extensions: the official API neither returns
// certificates nor takes more than ten records at once.
const (
	ImportPath = "/mooring/v1/import"
	ExportPath = "/mooring/v1/export"
)

// Media types of import and export files.
const (
	ContentTypeJSONLines = "application/x-ndjson"
	ContentTypeCSV       = "text/csv"
)

// Bounds of one request to import. Larger files are sent in parts.
const (
	MaxImportBody = 4 << 20 // bytes
	MaxImportLine = 1 << 20 // bytes of one record
)

// ImportResult is the answer to an import; its status is 200 even when every record
// was refused.
type ImportResult struct {
	Created   int             `json:"created"`
	Replaced  int             `json:"replaced"`
	Unchanged int             `json:"unchanged"` // the same was stored already
	Refused   []ImportRefusal `json:"refused"`   // in the order of lines; never null

	// Warnings are about records that were imported and may not do what is wanted: the
	// first MaxImportWarnings of them, in the order of lines.
	Warnings     []ImportWarning `json:"warnings,omitempty"`
	MoreWarnings int             `json:"moreWarnings,omitempty"` // that are left out
}

// MaxImportWarnings bounds the warnings in one result.
const MaxImportWarnings = 100

// ImportWarning says why a record that was imported may not do what is wanted.
type ImportWarning struct {
	Line    int64  `json:"line"`
	ID      string `json:"id"`
	Message string `json:"message"`
}

// ImportRefusal says why a record was not imported.
type ImportRefusal struct {
	Line      int64  `json:"line"` // of the body, where the record begins; the first is 1
	ID        string `json:"id,omitempty"`
	ErrorCode int    `json:"errorCode"`
	Message   string `json:"message"`
}
