package handshake

// GlimpseChain is for the fuzz target.
var GlimpseChain = glimpseChain
