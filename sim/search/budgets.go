package search

// States to begin with, as commands of scenarios. Disks are not held in them.
const (
	// led: node 1 leads term 1, and everybody knows that its no-op is committed.
	led = `
		bid 1
		settle
		beat 1
		settle
	`
	// divergent: node 2 leads term 2 by the vote of node 3, and has told nobody; node
	// 1 still leads term 1, with an entry that only its own disk has.
	divergent = led + `
		propose 1 x
		lose
		bid 2
		deliver only=2->3
		deliver only=3->2
		lose
	`
	// figure8 is (b) in figure 8 of the paper: node 1 has an entry of term 1 alone,
	// then node 3 led term 2 and has its no-op alone.
	figure8 = led + `
		propose 1 x
		lose
		bid 3
		deliver only=3->2
		deliver only=2->3
		lose
		crash 3
		start 3
		crash 1
		start 1
	`
	// offered: node 1 leads and has dropped its log up to 3; node 3 has only the no-op
	// and is about to be offered the snapshot.
	offered = led + `
		cut 1->3
		propose 1 x y
		settle
		mend
		snapshot 1
		snapshot 2
		beat 1
	`
	// late: node 3 is about to fetch a snapshot up to 3 that node 1 has offered. Node 2
	// has the whole log, leads term 2, and has told nobody.
	late = led + `
		cut 1->3
		propose 1 x y
		settle
		mend
		snapshot 1
		beat 1
		deliver only=1->3
		deliver only=3->1
		deliver only=1->3
		lose
		bid 2
		deliver only=2->1
		deliver only=1->2
		lose
	`
	// changing: node 1 has appended, and told nobody, that node 3 leaves.
	changing = led + `
		remove 1 3
		lose
	`
	// promoted: node 4 is a learner with the whole log, and node 1 has appended that it votes.
	promoted = led + `
		join 4
		learner 1 4
		settle
		beat 1
		settle
		promote 1 4
		lose
	`
	// fenced: node 2 came back one write short, which had held the committed entry x.
	fenced = led + `
		cut 1->3
		propose 1 x
		settle
		mend
		forget 2
		start 2
		lose
	`
	// reading: node 1 has a read under way and was just deposed by 2 and 3 without knowing.
	reading = led + `
		read 1
		lose
		bid 2
		deliver only=2->3
		deliver only=3->2
		lose
	`
	// asking: node 1 has a read under way, of whose round node 3 has answered; node 2 makes a
	// bid. All of that is still to arrive.
	asking = led + `
		read 1
		deliver only=1->3
		bid 2
	`
	// hung: node 1 has given its disk an entry that the two others have already acknowledged.
	hung = led + `
		hold 1
		propose 1 x
		deliver only=1->2,1->3
		deliver only=2->1,3->1
		lose
	`
	// handing: node 1 is about to hand over to node 2, which it has told nobody.
	handing = led + `
		transfer 1 2
		settle
		lose
	`
)

type limits = map[Kind]uint8

// Small are the budgets of every run: some seconds together.
func Small() []Budget {
	return []Budget{
		{Name: "election", Nodes: 3, Writes: 1, Limit: limits{Bid: 1, Crash: 2, Again: 1}, States: 2e4},
		{Name: "pre-vote", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Timeout: 1, Deaf: 1}, States: 2e4},
		{Name: "writes", Nodes: 3, Writes: 2, Prefix: led, Limit: limits{Propose: 1, Crash: 1, Bid: 1}, States: 5e3},
		{Name: "figure 8", Nodes: 3, Writes: 1, Prefix: figure8, Limit: limits{Bid: 1, Crash: 1}, States: 2e4},
		{Name: "divergent", Nodes: 3, Writes: 2, Prefix: divergent, Limit: limits{Beat: 2, Crash: 1}, States: 2e4},
		{Name: "snapshot", Nodes: 3, Writes: 2, Prefix: offered, Limit: limits{Beat: 1, Crash: 1}, States: 2e4},
		{Name: "late fetch", Nodes: 3, Writes: 2, Prefix: late, Limit: limits{Beat: 1}, States: 1e4},
		{Name: "change", Nodes: 3, Writes: 1, Prefix: changing, Limit: limits{Bid: 1, Beat: 1}, States: 1e4},
		{Name: "promotion", Nodes: 3, Writes: 1, Prefix: promoted, Limit: limits{Bid: 1}, States: 1e4},
		{Name: "fence", Nodes: 3, Writes: 1, Prefix: fenced, Limit: limits{Bid: 1, Beat: 1}, States: 1e4},
		{Name: "read", Nodes: 3, Writes: 1, Prefix: reading, Limit: limits{Read: 1, Beat: 1}, States: 1e4},
		{Name: "transfer", Nodes: 3, Writes: 1, Prefix: handing, Limit: limits{Beat: 1, Bid: 1}, States: 1e4},
		{Name: "hung disk", Nodes: 3, Writes: 1, Prefix: hung, Limit: limits{Hang: 1, Bid: 1}, States: 1e4},
		{Name: "full disk", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Full: 1, Propose: 1}, States: 1e4},
		{Name: "fence and a dead leader", Nodes: 3, Writes: 1, Prefix: fenced, Limit: limits{Gone: 1, Beat: 1}, States: 1e4},
		{Name: "reads in bursts", Nodes: 3, Writes: 1, Prefix: asking, Limit: limits{Burst: 1}, States: 1e4},
	}
}

// Middle are the budgets of tier 2: a minute or two together.
func Middle() []Budget {
	return []Budget{
		{Name: "two elections", Nodes: 3, Writes: 1, Limit: limits{Bid: 2}, States: 2e5},
		{Name: "two pre-votes", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Timeout: 2}, States: 2e5},
		{Name: "figure 8 to its end", Nodes: 3, Writes: 1, Prefix: figure8, Limit: limits{Bid: 2}, States: 2e5},
		{Name: "writes to the end", Nodes: 3, Writes: 2, Prefix: led, Limit: limits{Propose: 1, Crash: 1, Bid: 1}, States: 2e5},
		{Name: "divergent and a bid", Nodes: 3, Writes: 2, Prefix: divergent, Limit: limits{Beat: 1, Bid: 1}, States: 7e4},
		{Name: "snapshot and a bid", Nodes: 3, Writes: 2, Prefix: offered, Limit: limits{Beat: 1, Crash: 1, Bid: 1}, States: 7e4},
		{Name: "change and crash", Nodes: 3, Writes: 1, Prefix: changing, Limit: limits{Bid: 2, Crash: 1}, States: 7e4},
		{Name: "changes", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Change: 2, Bid: 1}, Changes: []string{"demote 3", "remove 2", "promote 3"}, States: 7e4},
		{Name: "promotion and beats", Nodes: 3, Writes: 1, Prefix: promoted, Limit: limits{Bid: 1, Beat: 1}, States: 7e4},
		{Name: "forgotten write", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Propose: 1, Forget: 1, Beat: 1, Bid: 1}, States: 7e4},
		{Name: "reads over a change of leader", Nodes: 3, Writes: 1, Prefix: reading, Limit: limits{Read: 1, Propose: 1, Beat: 1}, States: 7e4},
		{Name: "hung disk and a crash", Nodes: 3, Writes: 1, Prefix: hung, Limit: limits{Hang: 1, Bid: 1, Crash: 1}, States: 1e5},
		{Name: "full disk and a bid", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Full: 1, Propose: 1, Bid: 1}, States: 1e5},
		{Name: "dead leaders", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Gone: 2}, States: 1e5},
		{Name: "figure 8 in bursts", Nodes: 3, Writes: 1, Prefix: figure8, Limit: limits{Bid: 1, Burst: 2}, States: 1e5},
		{Name: "late fetch in bursts", Nodes: 3, Writes: 2, Prefix: late, Limit: limits{Beat: 1, Burst: 2}, States: 1e5},
		{Name: "late fetch, lazy appliers", Nodes: 3, Writes: 1, Prefix: late, Lazy: true, Limit: limits{Beat: 1, Unfetched: 1}, States: 1e5},
		{Name: "commands held back", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Propose: 1, Gather: 1, Bid: 1}, States: 1e5},
		{Name: "transfer given up", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Transfer: 1, GiveUp: 1, Propose: 1}, States: 1e5},
		{Name: "transfer against a bid", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Transfer: 1, Propose: 1, Bid: 1}, States: 7e4},
	}
}

// Large are the budgets of .ci/long.
func Large() []Budget {
	return []Budget{
		{Name: "two elections and a crash", Nodes: 3, Writes: 1, Limit: limits{Bid: 2, Crash: 1}, States: 3e6},
		{Name: "three elections", Nodes: 3, Writes: 1, Limit: limits{Bid: 3}, States: 3e6},
		{Name: "figure 8 from its state (a)", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Propose: 1, Bid: 2, Crash: 1}, States: 3e6},
		{Name: "figure 8 and crashes", Nodes: 3, Writes: 1, Prefix: figure8, Limit: limits{Bid: 2, Crash: 1}, States: 3e6},
		{Name: "three writes in flight", Nodes: 3, Writes: 3, Prefix: led, Limit: limits{Propose: 2, Crash: 1, Bid: 1}, States: 3e6},
		{Name: "snapshots", Nodes: 3, Writes: 2, Prefix: led, Limit: limits{Propose: 2, Snapshot: 1, Beat: 2, Crash: 1}, States: 3e6},
		{Name: "changes and crashes", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Change: 2, Bid: 1, Crash: 1}, Changes: []string{"demote 3", "remove 2", "promote 3"}, States: 3e6},
		{Name: "two elections in bursts", Nodes: 3, Writes: 1, Limit: limits{Bid: 2, Burst: 2}, States: 3e6},
		{Name: "writes in bursts", Nodes: 3, Writes: 2, Prefix: led, Limit: limits{Propose: 1, Bid: 1, Crash: 1, Burst: 1}, States: 3e6},
		{Name: "reads and a bid in bursts", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Read: 1, Propose: 1, Bid: 1, Burst: 1}, States: 3e6},
		{Name: "divergent in bursts", Nodes: 3, Writes: 1, Prefix: divergent, Limit: limits{Beat: 1, Bid: 1, Burst: 1}, States: 3e6},
		{Name: "changes in bursts", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Change: 1, Bid: 1, Burst: 1}, Changes: []string{"demote 3", "remove 2"}, States: 3e6},
		{Name: "hung disks", Nodes: 3, Writes: 2, Prefix: led, Limit: limits{Propose: 2, Hang: 1, Bid: 1}, States: 3e6},
		{Name: "full disks and a crash", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Full: 2, Propose: 1, Bid: 1, Crash: 1}, States: 3e6},
		{Name: "dead leaders and a crash", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Gone: 2, Crash: 1}, States: 3e6},
		{Name: "snapshots, lazy appliers", Nodes: 3, Writes: 1, Prefix: led, Lazy: true, Limit: limits{Propose: 2, Snapshot: 1, Beat: 1, Unfetched: 1}, States: 3e6},
		{Name: "more commands held back", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Propose: 2, Gather: 1, Bid: 1}, States: 3e6},
		{Name: "transfers", Nodes: 3, Writes: 1, Prefix: led, Limit: limits{Transfer: 2, GiveUp: 1, Propose: 1, Bid: 1}, States: 3e6},
		{Name: "five voters", Nodes: 5, Writes: 1, Limit: limits{Bid: 1, Crash: 1}, States: 3e6},
	}
}
