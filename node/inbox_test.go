package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/raft"
)

func testInbox() *inbox {
	return newInbox(InboxLimits{Requests: 4, RequestBytes: 100, Messages: 2, MessageBytes: 1000, Packets: 1, PacketBytes: 100, Admin: 1}, &Metrics{})
}

// Ticks that came while the loop was starved count as one (CK-05).
func TestTicksCoalesce(t *testing.T) {
	in := testInbox()
	for i := range 20 {
		in.tick(Tick{Elapsed: time.Millisecond, Wall: raft.Time(i)})
	}
	b := in.take(&batch{})
	if !b.ticked || b.tick != (Tick{Elapsed: 20 * time.Millisecond, Wall: 19}) {
		t.Errorf("tick %+v", b.tick)
	}
	b.reset()
	if b = in.take(b); b.ticked {
		t.Error("the tick came twice")
	}
}

// A full client lane makes Submit wait, never the others.
func TestSubmitWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := testInbox()
		c := &Conn{}
		q := make([]Request, 3)
		ctx := context.Background()
		if err := in.submit(ctx, c, q); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- in.submit(ctx, c, q) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("submitted beyond the bound: %v", err)
		default:
		}
		in.wrote(7, 1) // has its own place
		b := in.take(&batch{})
		if len(b.requests) != 3 || len(b.runs) != 1 || b.wrote.Seq != 7 {
			t.Errorf("%d requests in %d runs, wrote %d", len(b.requests), len(b.runs), b.wrote.Seq)
		}
		synctest.Wait()
		if err := <-done; err != nil {
			t.Fatal(err)
		}

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := in.submit(short, c, q); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
		go func() { done <- in.submit(ctx, c, q) }()
		synctest.Wait()
		in.close(ErrShutdown)
		if err := <-done; !errors.Is(err, ErrShutdown) {
			t.Errorf("error %v, want shutdown", err)
		}
		if err := in.ask(Stop{}); !errors.Is(err, ErrShutdown) {
			t.Errorf("error %v, want shutdown", err)
		}
	})
}

func TestSubmitAfterClose(t *testing.T) {
	in := testInbox()
	c := &Conn{}
	in.gone(c)
	in.gone(c)
	if err := in.submit(context.Background(), c, make([]Request, 1)); !errors.Is(err, errConnClosed) {
		t.Errorf("error %v, want closed", err)
	}
	if b := in.take(&batch{}); len(b.gone) != 1 {
		t.Errorf("%d ends of one connection", len(b.gone))
	}
}

// Peers' messages are dropped when there is no room; forwards are kept to be refused.
func TestLanesOfPeers(t *testing.T) {
	in := testInbox()
	in.received(make([]raft.Message, 5))
	for id := range uint64(3) {
		in.packet(Packet{From: 2, Bytes: forwardOf(7, 1, id+1, "a")})
	}
	for range 3 {
		in.packet(Packet{From: 2, Bytes: appendReadTell(appendPacket(nil, packetReadTell, 9), 4, 17, nil)})
	}
	if err := in.ask(Stop{}); err != nil {
		t.Error(err)
	}
	if err := in.ask(Stop{}); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v, want busy", err)
	}
	b := in.take(&batch{})
	if len(b.messages) != 2 || in.metrics.Dropped.Load() != 3 {
		t.Errorf("%d messages, %d dropped", len(b.messages), in.metrics.Dropped.Load())
	}
	if len(b.packets) != 1 || len(b.refused) != 2 || b.refused[1].Refusal.ids[0] != 3 {
		t.Errorf("%d packets, refused %+v", len(b.packets), b.refused)
	}
	if len(b.answers) != 3 {
		t.Errorf("%d answers, want all 3", len(b.answers))
	}
}
