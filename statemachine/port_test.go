package statemachine_test

import (
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/statemachine"
)

var _ node.Machine = (*statemachine.Machine)(nil)
