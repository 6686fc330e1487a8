package identity

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// answer is what came of asking one listed node: a reply or an error.
type answer struct {
	at Place // as it is listed here
	reply
	err error
}

// verdict is what an empty node does after one round of asking. Exactly one of
// birth, wait and err is set.
type verdict struct {
	birth  *Birth // store it
	joined bool   // with birth: another node says that this one was added
	wait   string // ask again later; this is why, for people
	doubt  error  // with wait: if this stays for doubtRounds, it is err
	err    error  // stop: it can't come right by itself. Wraps ErrRefused
}

// doubtRounds is how often in a row a doubt must come. Together they last longer
// than any other node takes to ask anew (pauseMax), so what it says is not old.
const doubtRounds = 10

func refuse(format string, args ...any) verdict {
	return verdict{err: fmt.Errorf(format+": %w", append(args, ErrRefused)...)}
}

// decide is the protocol: what an empty node rec, configured as cfg, makes of
// the answers of all other listed nodes. cluster is a fresh UUID, used if this
// node founds. It changes nothing.
func decide(cfg Config, rec Record, answers []answer, cluster uuid.UUID) verdict {
	for _, a := range answers {
		if a.err == nil && a.Node == rec.Node {
			if a.Self.Name == rec.Name {
				return refuse("the peer address of node %q, %s, leads to this node itself: correct cluster.voters", a.at.Name, a.at.Peer)
			}
			return refuse("node %q at %s has the identity of this node: one data directory is a copy of the other; empty it", a.Self.Name, a.at.Peer)
		}
	}
	if v, met := meet(cfg, rec, answers); met {
		return v
	}
	if cfg.Join {
		return verdict{wait: "looking for a member of the cluster to join: " + cmp.Or(describe(answers), "the listed nodes have none yet")}
	}
	if v := compare(cfg, answers); v.err != nil {
		return v
	}
	if !cfg.founder() {
		return verdict{wait: fmt.Sprintf("waiting for node %s, listed first, to found the cluster%s", cfg.Voters[0].Name, colon(describe(answers)))}
	}
	return found(cfg, rec, answers, cluster)
}

// meet looks for nodes that have a Birth: then there is a cluster already.
func meet(cfg Config, rec Record, answers []answer) (v verdict, met bool) {
	var holder *answer
	member := false
	for i := range answers {
		a := &answers[i]
		if a.err != nil || a.Birth == nil {
			continue
		}
		if holder != nil && a.Birth.Cluster != holder.Birth.Cluster {
			return refuse("node %q at %s belongs to cluster %v, node %q at %s to cluster %v: list nodes of one cluster only, or empty the data directories",
				holder.at.Name, holder.at.Peer, holder.Birth.Cluster, a.at.Name, a.at.Peer, a.Birth.Cluster), true
		}
		holder, member = a, member || a.Member
	}
	if holder == nil {
		return verdict{}, false
	}
	b := holder.Birth
	if _, named := b.Names(rec.Node); named {
		return verdict{birth: b}, true
	}
	if member {
		return verdict{birth: b, joined: true}, true
	}
	var names []string
	known := cfg.Join
	for _, p := range b.Voters {
		names = append(names, p.Name)
		known = known || p.Name == rec.Name
	}
	if !known {
		return refuse("node %q at %s belongs to cluster %v, which was born of %s, without node %q: "+
			"to add this node to it, set cluster.join: true; to found a new cluster, empty the data directories of its nodes",
			holder.at.Name, holder.at.Peer, b.Cluster, strings.Join(names, ", "), rec.Name), true
	}
	// A voter of that name was there, with another UUID: its disk is gone, and with
	// it the votes that it gave. Only as a new member is it harmless.
	return verdict{wait: fmt.Sprintf("cluster %v is there and this data directory is new: waiting to be added; on a member run: raftkv member add %s %s",
		b.Cluster, rec.Name, cfg.Self.Peer)}, true
}

// compare refuses nodes that would found another cluster than this one.
func compare(cfg Config, answers []answer) verdict {
	for _, a := range answers {
		switch {
		case a.err != nil:
			continue
		case a.Self.Name != a.at.Name:
			return refuse("cluster.voters says that node %q is at %s, but %q answers there: two nodes have one address or name; correct cluster.voters or node.name",
				a.at.Name, a.at.Peer, a.Self.Name)
		case a.Join:
			return refuse("node %q at %s waits to be added (cluster.join: true), but is among the first voters here: correct either", a.at.Name, a.at.Peer)
		case listHash(a.List) != listHash(cfg.Voters):
			return refuse("cluster.voters of node %q at %s differs from this node's: %s; make them the same", a.at.Name, a.at.Peer, difference(cfg.Voters, a.List))
		}
	}
	return verdict{}
}

// difference names the first thing in which two lists differ.
func difference(ours, theirs []Place) string {
	for i := range max(len(ours), len(theirs)) {
		at := func(list []Place) string {
			if i >= len(list) {
				return "nobody"
			}
			return fmt.Sprintf("%s at %s", list[i].Name, list[i].Peer)
		}
		if o, t := at(ours), at(theirs); o != t {
			return fmt.Sprintf("voter %d is %s here and %s there", i+1, o, t)
		}
	}
	return "nothing"
}

// found makes the Birth once all other voters are here, empty, and look to this
// node as the founder.
func found(cfg Config, rec Record, answers []answer, cluster uuid.UUID) verdict {
	byName := map[string]uuid.UUID{rec.Name: rec.Node}
	ids := map[uuid.UUID]string{rec.Node: rec.Name}
	var missing []string
	var doubt error
	for _, a := range answers {
		switch {
		case a.err != nil:
			missing = append(missing, describe([]answer{a}))
			continue
		case a.First == uuid.Nil:
			missing = append(missing, fmt.Sprintf("waiting for node %s at %s, which has not reached this node at %s yet", a.at.Name, a.at.Peer, cfg.Self.Peer))
			continue
		case a.First != rec.Node:
			// Two processes of one name would each found a cluster, and the others
			// could end up in both. The one at the listed address is the founder. Or
			// this node's directory was emptied just now, and the other has not asked since.
			doubt = fmt.Errorf("another process than this one answers node %q at %s, the address of the first voter: two nodes are called %q, or the address is wrong: %w",
				a.at.Name, cfg.Voters[0].Peer, rec.Name, ErrRefused)
			missing = append(missing, fmt.Sprintf("waiting for node %s at %s, which another process answers at %s", a.at.Name, a.at.Peer, cfg.Voters[0].Peer))
			continue
		}
		if other, ok := ids[a.Node]; ok {
			return refuse("nodes %q and %q have one identity: one data directory is a copy of the other; empty it", other, a.at.Name)
		}
		ids[a.Node], byName[a.at.Name] = a.at.Name, a.Node
	}
	if missing != nil {
		return verdict{wait: strings.Join(missing, "; "), doubt: doubt}
	}
	b := &Birth{Cluster: cluster}
	for _, p := range cfg.Voters {
		b.Voters = append(b.Voters, Voter{Node: byName[p.Name], Place: p})
	}
	return verdict{birth: b}
}

// describe says who is missing, and why.
func describe(answers []answer) string {
	var missing []string
	for _, a := range answers {
		if a.err != nil {
			missing = append(missing, fmt.Sprintf("waiting for node %s at %s: %v", a.at.Name, a.at.Peer, a.err))
		}
	}
	return strings.Join(missing, "; ")
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}
