package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// Every system can be started: its templates name only what there is, and what
// they make of three nodes has no hole.
func TestSystemsExpand(t *testing.T) {
	var systems []*system
	if err := json.Unmarshal(builtin, &systems); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range systems {
		if names[s.Name] {
			t.Errorf("two systems are called %s", s.Name)
		}
		names[s.Name] = true
		var nodes []*node
		for i := range s.Nodes {
			nodes = append(nodes, &node{ID: i + 1, ClientPort: 7001 + i, PeerPort: 7101 + i, HTTPPort: 7201 + i})
		}
		d := tdata{Bin: "/bin", Dir: "/dir", ID: 1, ClientPort: 7001, PeerPort: 7101, HTTPPort: 7201, First: true, Nodes: nodes}
		all := append(append([]string{}, s.Start...), s.Fast...)
		if s.Build != nil {
			all = append(all, s.Build.Cmd...)
		}
		for _, f := range s.Files {
			all = append(all, f)
		}
		text := ""
		for _, x := range all {
			text += expand(x, d) + "\n"
		}
		if len(s.Start) == 0 || strings.Contains(text, "<no value>") {
			t.Errorf("%s is started by %q", s.Name, text)
		}
		if s.Nodes > 1 && !strings.Contains(text, "7103") {
			t.Errorf("%s: its first node does not know the third one's peer port:\n%s", s.Name, text)
		}
	}
}
