package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/internal/identity"
	"github.com/raftkv/raftkv/raft"
)

// admin changes the cluster for the RAFT commands of clients. It meets resp.Admin.
type admin struct{ d *daemon }

// AddMember asks the node at a peer address who it is, adds it as a learner, and
// tells it so.
func (a *admin) AddMember(ctx context.Context, name, peer string, dryRun bool) (string, error) {
	info, err := identity.Ask(ctx, a.d.transport.Exchange, a.d.id, peer)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w; start it first, with cluster.join: true and an empty data directory", err)
	case info.Name != name:
		return "", fmt.Errorf("the node at %s calls itself %q, not %q", peer, info.Name, name)
	case !info.Empty && info.Cluster != a.d.id.Cluster():
		return "", fmt.Errorf("the node at %s belongs to another cluster (%v); only an empty node can be added", peer, info.Cluster)
	}
	if _, ok := a.d.committed.Load().Find(info.ID); ok {
		// Added already, perhaps by a command whose answer was lost: only tell it again.
		if dryRun {
			return fmt.Sprintf("%s (%v) is a member already", name, info.ID), nil
		}
		if err := identity.Adopt(ctx, a.d.transport.Exchange, a.d.id, peer, info.Node, name); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s (%v) is a member already", name, info.ID), nil
	}
	m := raft.Member{ID: info.ID, Name: name, Peer: peer, Client: info.Client, HTTP: info.HTTP, Learner: true}
	if err := a.d.node.ChangeMember(ctx, m.ID, &m, dryRun); err != nil {
		return "", err
	}
	if dryRun {
		return fmt.Sprintf("would add %s (%v) as a learner", name, m.ID), nil
	}
	if err := identity.Adopt(ctx, a.d.transport.Exchange, a.d.id, peer, info.Node, name); err != nil {
		return "", fmt.Errorf("%s was added as a learner, but does not know it: %w; run the command again", name, err)
	}
	return fmt.Sprintf("added %s (%v) as a learner; promote it when it has caught up: raftkv member promote %s", name, m.ID, name), nil
}

// Promote makes a learner a voter.
func (a *admin) Promote(ctx context.Context, name string, dryRun bool) (string, error) {
	m, err := a.find(name)
	if err != nil {
		return "", err
	}
	if !m.Learner {
		return "", fmt.Errorf("%s is a voter already", name)
	}
	m.Learner = false
	if err := a.d.node.ChangeMember(ctx, m.ID, &m, dryRun); err != nil {
		return "", err
	}
	if dryRun {
		return fmt.Sprintf("would make %s a voter", name), nil
	}
	return name + " is a voter now", nil
}

// Remove takes a member out of the cluster, for ever.
func (a *admin) Remove(ctx context.Context, name string, dryRun bool) (string, error) {
	m, err := a.find(name)
	if err != nil {
		return "", err
	}
	if err := a.d.node.ChangeMember(ctx, m.ID, nil, dryRun); err != nil {
		return "", err
	}
	if dryRun {
		return fmt.Sprintf("would remove %s (%v)", name, m.ID), nil
	}
	return fmt.Sprintf("removed %s (%v); that data directory can't come back: empty it to let the node join as a new one", name, m.ID), nil
}

// Transfer hands leadership to the named node, or to the best one.
func (a *admin) Transfer(ctx context.Context, name string) (string, error) {
	to := raft.None
	if name != "" {
		m, err := a.find(name)
		if err != nil {
			return "", err
		}
		to = m.ID
	}
	if err := a.d.node.Transfer(ctx, to); err != nil {
		return "", err
	}
	return "leadership was handed over", nil
}

// Snapshot writes a snapshot now.
func (a *admin) Snapshot(ctx context.Context) (string, error) {
	meta, err := a.d.node.Snapshot(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("snapshot up to entry %v", meta.Last), nil
}

// find looks a member up by its name or id.
func (a *admin) find(name string) (raft.Member, error) {
	var names []string
	for _, m := range a.d.node.Status().Members {
		if m.Name != name && m.ID != name {
			names = append(names, m.Name)
			continue
		}
		var id uint64
		if _, err := fmt.Sscanf(m.ID, "%x", &id); err != nil {
			return raft.Member{}, fmt.Errorf("id %q of %s: %w", m.ID, name, err)
		}
		return raft.Member{ID: raft.NodeID(id), Name: m.Name, Peer: m.Peer, Client: m.Client, HTTP: m.HTTP, Learner: m.Learner}, nil
	}
	return raft.Member{}, errors.New("no member " + name + "; the members are " + fmt.Sprint(names))
}
