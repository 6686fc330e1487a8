// Package resp is the codec of the Redis protocol, versions 2 and 3, and
// nothing else: it knows no command, opens no connection and starts no goroutine.
//
//	client  ──Reader──>  server      requests: arrays of bulk strings, or inline lines
//	client  <──Writer──  server      replies, built in memory
//	client  <──ReplyReader──         replies, read with limits
//
// It promises that bytes from outside cost no more memory than what came in: a
// length in a header allocates nothing (FAULTS BI-02), and everything has a limit.
// The texts of protocol errors are Redis's own.
//
// Read Reader first: Fill reads once from the connection, Next hands out what is
// complete, so that one read of a pipeline becomes one batch of requests.
package resp
