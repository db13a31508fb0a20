package portal

// What tests look at from outside.
var (
	Local       = local
	FieldOf     = fieldOf
	CheckOfTwin = checkOfTwin
	JSONProblem = jsonProblem
	NewChart    = newChart
)

// Patterns returns the patterns of all pages behind the sign-in.
func Patterns() []string {
	var all []string
	for pattern := range (&server{}).pages() {
		all = append(all, pattern)
	}
	return append(all, "GET /password", "POST /password", "POST /sign-out")
}
