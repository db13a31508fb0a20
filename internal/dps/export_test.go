package dps

// AnyName is how DistinguishedName writes what is out of the ordinary.
func AnyName(raw []byte) string { return anyName(raw) }
