package boost

import (
	"context"

	"kontor/internal/parallel"
)

// branch is a node while its tree grows. Positions count the training rows,
// then the validation rows, and stay in ascending order, so that sums do not
// depend on who held the split above.
type branch struct {
	node         int     // index in Tree.Nodes
	train, valid []int32 // positions
	total        sums
	hists        [][]int64 // by owner; pairs (g, h) by bin over the owner's features
	best         split
}

// pair is two children of one split; small has fewer training rows and is built
// from rows, large follows by subtraction. At the root large is nil.
type pair struct {
	small, large *branch
	parent       [][]int64
}

// owner is one party's features in the search for splits.
type owner struct {
	bins   []int // bins of each feature
	offset []int // first bin of each feature; offset[len(bins)] is the number of bins
}

func newOwner(bins []int) owner {
	o := owner{bins: bins, offset: make([]int, len(bins)+1)}
	for f, b := range bins {
		o.offset[f+1] = o.offset[f] + b
	}
	return o
}

func (o owner) rows() int { return o.offset[len(o.bins)] }

// histogram adds up the derivatives of one node's rows by bin of one feature.
func histogram(out []int64, f *feature, rows []int32, gh []int64) {
	var acc [512]int64 // indexed by a byte: no bounds to check
	for _, i := range rows {
		b := 2 * int(f.index[i])
		acc[b&511] += gh[2*i]
		acc[(b+1)&511] += gh[2*i+1]
	}
	copy(out, acc[:2*len(f.edges)])
}

// localHists builds the guest's own histograms of the nodes to build.
func (t *trainer) localHists(ctx context.Context, pairs []pair) error {
	own := &t.owners[0]
	for _, p := range pairs {
		p.small.hists[0] = make([]int64, 2*own.rows())
	}
	n := len(t.own)
	return parallel.For(ctx, len(pairs)*n, func(i int) error {
		b, f := pairs[i/n].small, i%n
		histogram(b.hists[0][2*own.offset[f]:2*own.offset[f+1]], t.own[f], b.train, t.gh)
		return nil
	})
}

// subtract derives the larger child's histograms from the parent's, which it
// overwrites.
func (t *trainer) subtract(pairs []pair) {
	for _, p := range pairs {
		if p.large == nil {
			continue
		}
		for o, h := range p.parent {
			for k, x := range p.small.hists[o] {
				h[k] -= x
			}
			p.large.hists[o] = h
		}
	}
}

// search finds the best split of every branch: the highest gain, then the
// lowest owner, feature and bin.
func (t *trainer) search(ctx context.Context, level []*branch) error {
	type at struct{ owner, feature int }
	var all []at
	for o := range t.owners {
		for f := range t.owners[o].bins {
			all = append(all, at{o, f})
		}
	}
	found := make([]split, len(level)*len(all))
	err := parallel.For(ctx, len(level), func(i int) error {
		b := level[i]
		for k, a := range all {
			o := &t.owners[a.owner]
			s := t.p.bestSplit(b.hists[a.owner][2*o.offset[a.feature]:2*o.offset[a.feature+1]], b.total, t.scale)
			s.owner, s.feature = a.owner, a.feature
			found[i*len(all)+k] = s
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, b := range level {
		b.best = split{}
		for _, s := range found[i*len(all) : (i+1)*len(all)] {
			if s.gain > b.best.gain {
				b.best = s
			}
		}
	}
	return nil
}

// side says for a position whether it goes left.
func (t *trainer) side(s split) func(i int32) bool {
	if s.owner == 0 {
		f := t.own[s.feature]
		return func(i int32) bool { return f.goesLeft(i, s.bin, s.defaultLeft) }
	}
	bits := t.fed.sides(s)
	return func(i int32) bool { return bits[i>>3]>>(i&7)&1 == 1 }
}

// divide sends the rows of b left and right, keeping their order.
func (t *trainer) divide(b *branch) (l, r *branch) {
	goes := t.side(b.best)
	cut := func(rows []int32) (left, right []int32) {
		for _, i := range rows {
			if goes(i) {
				left = append(left, i)
			} else {
				right = append(right, i)
			}
		}
		return left, right
	}
	l, r = t.newBranch(), t.newBranch()
	l.train, r.train = cut(b.train)
	l.valid, r.valid = cut(b.valid)
	for _, i := range l.train {
		l.total.g += t.gh[2*i]
		l.total.h += t.gh[2*i+1]
	}
	r.total = b.total.minus(l.total)
	return l, r
}

func (t *trainer) newBranch() *branch { return &branch{hists: make([][]int64, len(t.owners))} }

// root returns the branch of all rows.
func (t *trainer) root() *branch {
	b := t.newBranch()
	b.train, b.valid = t.positions[:t.train:t.train], t.positions[t.train:]
	for i := range t.train {
		b.total.g += t.gh[2*i]
		b.total.h += t.gh[2*i+1]
	}
	return b
}

// growTree grows one tree level by level. With hosts every level is asked for,
// also where nothing is left to split, so that a host sees the same messages
// whatever the tree.
func (t *trainer) growTree(ctx context.Context) (*Tree, error) {
	tree := &Tree{Nodes: make([]Node, 1)}
	root := t.root()
	level, pairs := []*branch{root}, []pair{{small: root}}
	var leaves []*branch
	for depth := range t.p.Depth {
		if err := t.localHists(ctx, pairs); err != nil {
			return nil, err
		}
		if t.fed != nil {
			if err := t.fed.histograms(ctx, pairs, slots(depth), t.gh); err != nil {
				return nil, err
			}
		}
		t.subtract(pairs)
		if err := t.search(ctx, level); err != nil {
			return nil, err
		}
		if t.fed != nil {
			if err := t.fed.askSides(ctx, level); err != nil {
				return nil, err
			}
		}
		next, done, err := t.splitLevel(ctx, tree, level)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, done...)
		level, pairs = level[:0:0], pairs[:0:0]
		for _, p := range next {
			pairs = append(pairs, p.pair)
			level = append(level, p.left, p.right)
		}
	}
	t.settle(tree, append(leaves, level...))
	return tree, ctx.Err()
}

type children struct {
	pair
	left, right *branch
}

// splitLevel divides the branches that have a split and returns their children;
// the others are leaves.
func (t *trainer) splitLevel(ctx context.Context, tree *Tree, level []*branch) (next []children, leaves []*branch, err error) {
	kids := make([]children, len(level))
	err = parallel.For(ctx, len(level), func(i int) error {
		if b := level[i]; b.best.gain > 0 {
			l, r := t.divide(b)
			kids[i] = children{pair{small: l, large: r, parent: b.hists}, l, r}
			if len(r.train) < len(l.train) {
				kids[i].small, kids[i].large = r, l
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for i, b := range level {
		if b.best.gain == 0 {
			leaves = append(leaves, b)
			continue
		}
		n := t.node(b.best)
		n.Left, n.Right = len(tree.Nodes), len(tree.Nodes)+1
		kids[i].left.node, kids[i].right.node = n.Left, n.Right
		tree.Nodes[b.node] = n
		tree.Nodes = append(tree.Nodes, Node{}, Node{})
		next = append(next, kids[i])
		b.train, b.valid, b.hists = nil, nil, nil
	}
	return next, leaves, nil
}

// node returns the model's node for a split.
func (t *trainer) node(s split) Node {
	if s.owner == 0 {
		f := t.own[s.feature]
		return Node{Feature: f.column, Threshold: f.edges[s.bin], DefaultLeft: s.defaultLeft, Gain: s.gain}
	}
	return Node{Host: s.owner, Feature: s.feature, Split: t.fed.splitID(s), Gain: s.gain}
}

// settle weighs the leaves with exact derivatives and moves the scores of
// their rows.
func (t *trainer) settle(tree *Tree, leaves []*branch) {
	for _, b := range leaves {
		var g, h float64
		for _, i := range b.train {
			g += t.g[i]
			h += t.h[i]
		}
		w := t.p.leaf(g, h)
		tree.Nodes[b.node] = Node{Leaf: w}
		for _, rows := range [][]int32{b.train, b.valid} {
			for _, i := range rows {
				t.score[i] += w
			}
		}
	}
}
