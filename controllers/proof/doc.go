// Package proof has no code, only tests: they try to find the states from which
// the operator does not recover, in the manner of Sieve and Acto. The operator's
// loop runs turn by turn on a real API server, with the rights that it is
// shipped with; what a test decides is which of its calls fail, how old its
// cache is, and when it dies.
//
// A script is what users do to a Shop. It runs once undisturbed; then with each
// call of the operator cut off, refused or lost, and with caches that lag. The
// objects must be the same in the end, and some things must never happen on the
// way: see wire.judge.
//
//	go test ./controllers/proof            a sample: each call of each script with one fault or another, one cache in 24
//	go test ./controllers/proof -every 1   every fault of every call by itself, every older cache, 100 pairs of specs
package proof
