// Package transporttest has a stand-in for the network between nodes, for tests.
//
// Network is in memory: endpoints with the methods of transport.Transport that a
// node uses, whose links can be cut, held, delayed or made to drop by hand. It
// keeps the promises of the real one (order of Connected, Unsent and Lost) and
// runs inside testing/synctest.
//
// It imports neither transport nor node, so that both may use it in their tests.
package transporttest
