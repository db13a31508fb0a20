package portal

// What tests look at from outside.
var (
	Local       = local
	FieldOf     = fieldOf
	CheckOfTwin = checkOfTwin
	NewChart    = newChart
)
