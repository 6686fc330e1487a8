// Package mutants plants mistakes into the source, one at a time, and demands that
// the tests find each.
//
// A mutant is a few lines of Go that compile and break one promise. The tests that
// are listed for it run on a build in which an overlay replaces the file; nothing
// in the tree changes. It is killed when one of those tests fails by an assertion
// of its own or of a checker. A build that fails, or a test that runs into its time
// limit, kills nothing. A mutant that survives is a test that is missing.
//
//	go test ./internal/mutants                                          that all still fit (tier 1)
//	go test ./internal/mutants -v -run TestKilled -sample               two minutes of them, others for each commit
//	go test ./internal/mutants -v -run TestKilled/room/NAME -all        one, by all benches listed for it
//	go test ./internal/mutants -v -run TestKilled -timeout 3h -all      all
//
// Read mutant in run_test.go first.
package mutants
