package main

// version is set by the build (-ldflags "-X main.version=..."); it is not changed
// after that.
var version = "dev"
