// Package access decides who may do what: users, their passwords, and the
// commands, keys and channels that are theirs, in the words of Redis's ACL.
//
//	log ──> statemachine ──OnUsers──> Store.Replace ──> Users (never changed)
//	                                                      │
//	client ──AUTH──> Store.Authenticate ──────────────> *User ──Allows, Key, Channel──> yes or no
//
// Users live in the log, so that every node knows the same ones; each node checks
// the clients that are connected to it, against the users that it has applied. A
// forwarded command was checked where it came from.
//
// As in Redis a connection starts as the user "default", unless that one has a
// password or is off. Until the log says otherwise default may do everything, with
// the password of the node's configuration if there is one.
//
// A Store and a *User may be used from any goroutine. Read Store first, then User.
package access
