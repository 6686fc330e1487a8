// Package tcl runs Redis 7.0.15's own test suite against raftkv: once against a
// cluster of one, once through a follower of three.
//
// The suite comes from Debian's source package of redis and stays in a cache
// directory; nothing of it is here. skip.txt names each test that raftkv can't
// pass, and why. A failure that isn't listed fails the run, and so does a listed
// test that passes: the list can't grow old.
//
//	go test -count=1 -v ./tcl            # in test/compat; needs Debian's apt-get and tclsh
//	go test -count=1 -v ./tcl -run '/one/unit_type_string$'
package tcl
