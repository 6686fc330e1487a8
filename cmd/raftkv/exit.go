package main

import (
	"errors"
	"io/fs"
	"strconv"
	"syscall"
)

// exitCode is what the process ends with. Scripts and units rely on the
// numbers: they are documented by raftkv help exit-codes and never change.
type exitCode int

// The exit codes of commands.
const (
	exitOK        exitCode = 0
	exitFail      exitCode = 1 // any other fault; nothing was changed, or the message says what
	exitUsage     exitCode = 2 // the command line is wrong; nothing was tried
	exitNoLeader  exitCode = 4 // the cluster has no leader, or no node could be reached
	exitNotFound  exitCode = 5 // the key isn't there
	exitCondition exitCode = 6 // a condition wasn't met (NX, XX, an unsafe member change); nothing was changed
	exitUnknown   exitCode = 7 // a write may or may not have taken effect
)

// The exit codes of the daemon, after sysexits.h.
const (
	exitDamaged    exitCode = 65 // stored data is damaged; not restarted
	exitIdentity   exitCode = 69 // identity refused, or removed from the cluster; not restarted
	exitInternal   exitCode = 70 // a fault of the program, or the watchdog
	exitDisk       exitCode = 74 // a write or sync failed; a restart finds out what the disk holds
	exitTaken      exitCode = 75 // data directory locked, port taken, or no file descriptor left
	exitPermission exitCode = 77 // a file or directory may not be used; not restarted
	exitConfig     exitCode = 78 // the configuration is wrong; not restarted
)

// restartable tells whether starting a daemon again can help. The unit's
// RestartPreventExitStatus says the same.
func (c exitCode) restartable() bool {
	switch c {
	case exitDamaged, exitIdentity, exitPermission, exitConfig:
		return false
	}
	return true
}

func (c exitCode) String() string {
	for _, e := range exitCodes() {
		if e.code == c {
			return e.what
		}
	}
	return "code " + strconv.Itoa(int(c))
}

type exitMeaning struct {
	code exitCode
	what string
}

// exitCodes are all of them, as help exit-codes shows them.
func exitCodes() []exitMeaning {
	return []exitMeaning{
		{exitOK, "success"},
		{exitFail, "error"},
		{exitUsage, "wrong usage"},
		{exitNoLeader, "no leader"},
		{exitNotFound, "key not found"},
		{exitCondition, "condition failed"},
		{exitUnknown, "outcome unknown"},
		{exitDamaged, "damaged data"},
		{exitIdentity, "identity refused or removed"},
		{exitInternal, "internal error or watchdog"},
		{exitDisk, "disk error"},
		{exitTaken, "data directory locked, port taken or no file descriptor left"},
		{exitPermission, "no permission"},
		{exitConfig, "wrong configuration"},
	}
}

// exitError is an error that says how the process ends. A command returns it
// from RunE; every other error from there ends with exitFail. With err nil nothing is printed.
type exitError struct {
	code exitCode
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return e.code.String()
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith wraps err with a code; a code that is there already, deeper, is replaced.
func exitWith(code exitCode, err error) error { return &exitError{code: code, err: err} }

// usageError is a wrong command line that only RunE could notice.
func usageError(err error) error { return exitWith(exitUsage, err) }

// codeOf is the code that err ends the process with.
func codeOf(err error) exitCode {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFail
}

// daemonCode is the code for an error that ended the daemon. What carries none
// is told apart by what the operating system said.
func daemonCode(err error) exitCode {
	switch code := codeOf(err); {
	case code != exitFail:
		return code
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return exitTaken
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS):
		return exitDisk
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return exitConfig // the address is not one of this machine
	}
	return exitInternal
}
