package metric

import "math"

// MaxPoints is how many points [Evaluate] gives a curve at most.
const MaxPoints = 512

// ROCPoint is what one threshold lets through.
type ROCPoint struct {
	FPR       float64 `json:"fpr"`
	TPR       float64 `json:"tpr"`
	Threshold float64 `json:"threshold"`
}

// KSPoint is the two cumulative curves whose greatest gap is the KS, after the
// given share of all rows, highest scores first.
type KSPoint struct {
	Share     float64 `json:"share"`
	Positives float64 `json:"positives"` // share of the positives up to here, the TPR
	Negatives float64 `json:"negatives"` // share of the negatives up to here, the FPR
	Score     float64 `json:"score"`     // the lowest score up to here
}

// PRPoint is precision against recall at one threshold.
type PRPoint struct {
	Recall    float64 `json:"recall"`
	Precision float64 `json:"precision"`
	Threshold float64 `json:"threshold"`
}

// ROC returns the curve from (0, 0) to (1, 1) in at most limit points, one for
// each distinct score where there is room; the point of the KS is always among
// them. The threshold of (0, 0) is the number just above the highest score.
// Between points the curve is straight, so that the area under it (of all
// points) is the [AUC]. Errors as for [AUC], and [ErrCount] for a limit below 3.
func ROC(scores, labels []float64, limit int) ([]ROCPoint, error) {
	r, err := rankCurve(scores, labels, limit)
	if err != nil {
		return nil, err
	}
	roc, _ := r.curves(limit)
	return roc, nil
}

// KSCurve returns the cumulative curves in the points of [ROC], with its errors.
func KSCurve(scores, labels []float64, limit int) ([]KSPoint, error) {
	r, err := rankCurve(scores, labels, limit)
	if err != nil {
		return nil, err
	}
	_, ks := r.curves(limit)
	return ks, nil
}

// PR returns precision against recall in at most limit points, recall rising. It
// begins at the highest score, not at an invented point of recall 0. Errors as for [ROC].
func PR(scores, labels []float64, limit int) ([]PRPoint, error) {
	r, err := rankCurve(scores, labels, limit)
	if err != nil {
		return nil, err
	}
	return r.pr(limit), nil
}

func rankCurve(scores, labels []float64, limit int) (*ranking, error) {
	if limit < 3 {
		return nil, ErrCount
	}
	return rankTwo(scores, labels)
}

// curves returns ROC and KS in the same points, thinned as one curve in space.
func (r *ranking) curves(limit int) ([]ROCPoint, []KSPoint) {
	pts := make([]vec, 1, len(r.groups)+1)
	tp, fp := 0, 0
	for _, g := range r.groups {
		tp += g.pos
		fp += g.neg
		pts = append(pts, vec{ratio(tp+fp, r.rows()), ratio(tp, r.pos), ratio(fp, r.neg)})
	}
	_, at := r.ks()
	keep := thin(pts, limit, at+1)
	roc := make([]ROCPoint, len(keep))
	ks := make([]KSPoint, len(keep))
	for k, i := range keep {
		s := math.Nextafter(r.groups[0].score, math.Inf(1))
		if i > 0 {
			s = r.groups[i-1].score
		}
		p := pts[i]
		roc[k] = ROCPoint{FPR: p[2], TPR: p[1], Threshold: s}
		ks[k] = KSPoint{Share: p[0], Positives: p[1], Negatives: p[2], Score: s}
	}
	return roc, ks
}

func (r *ranking) pr(limit int) []PRPoint {
	pts := make([]vec, 0, len(r.groups))
	tp, flagged := 0, 0
	for _, g := range r.groups {
		tp += g.pos
		flagged += g.pos + g.neg
		pts = append(pts, vec{ratio(tp, r.pos), ratio(tp, flagged)})
	}
	keep := thin(pts, limit)
	out := make([]PRPoint, len(keep))
	for k, i := range keep {
		out[k] = PRPoint{Recall: pts[i][0], Precision: pts[i][1], Threshold: r.groups[i].score}
	}
	return out
}

type vec [3]float64

// columns is how finely thin looks at the first coordinate before it chooses.
const columns = 2048

// thin returns the rising indexes of at most limit points that draw the same
// line: the ends, those in keep, then again and again the point farthest from
// the line drawn so far (Douglas & Peucker 1973, by budget instead of by
// tolerance). pts rise in their first coordinate, which is in [0, 1].
func thin(pts []vec, limit int, keep ...int) []int {
	if len(pts) <= limit {
		all := make([]int, len(pts))
		for i := range all {
			all[i] = i
		}
		return all
	}
	cand, fixed := extremes(pts, keep)
	type segment struct {
		lo, hi, far int // positions in cand
		dist        float64
	}
	farthest := func(lo, hi int) segment {
		s := segment{lo: lo, hi: hi}
		for k := lo + 1; k < hi; k++ {
			if d := distance(pts[cand[k]], pts[cand[lo]], pts[cand[hi]]); d > s.dist {
				s.far, s.dist = k, d
			}
		}
		return s
	}
	var segments []segment
	for k := 1; k < len(fixed); k++ {
		segments = append(segments, farthest(fixed[k-1], fixed[k]))
	}
	for len(segments)+1 < limit {
		worst := 0
		for k := range segments {
			if segments[k].dist > segments[worst].dist {
				worst = k
			}
		}
		s := segments[worst]
		if s.dist == 0 {
			break
		}
		segments[worst] = farthest(s.lo, s.far)
		segments = append(segments, farthest(s.far, s.hi))
	}
	chosen := make([]bool, len(cand))
	chosen[0] = true
	for _, s := range segments {
		chosen[s.hi] = true
	}
	out := make([]int, 0, limit)
	for k, ok := range chosen {
		if ok {
			out = append(out, cand[k])
		}
	}
	return out
}

// extremes keeps of each narrow column its first, last, lowest and highest
// points, which bounds the work of thin whatever the number of rows. It returns
// the indexes kept, and the positions among them of the ends and of keep.
func extremes(pts []vec, keep []int) (cand, fixed []int) {
	must := map[int]bool{0: true, len(pts) - 1: true}
	for _, k := range keep {
		must[k] = true
	}
	column := func(i int) int { return int(pts[i][0] * columns) }
	for lo := 0; lo < len(pts); {
		hi := lo
		for hi+1 < len(pts) && column(hi+1) == column(lo) {
			hi++
		}
		pick := [6]int{lo, hi, lo, lo, lo, lo}
		for i := lo; i <= hi; i++ {
			for c := 1; c <= 2; c++ {
				if pts[i][c] < pts[pick[2*c]][c] {
					pick[2*c] = i
				}
				if pts[i][c] > pts[pick[2*c+1]][c] {
					pick[2*c+1] = i
				}
			}
		}
		for i := lo; i <= hi; i++ {
			in := must[i]
			for _, p := range pick {
				in = in || p == i
			}
			if !in {
				continue
			}
			if must[i] {
				fixed = append(fixed, len(cand))
			}
			cand = append(cand, i)
		}
		lo = hi + 1
	}
	return cand, fixed
}

// distance returns the distance of p from the line between a and b.
func distance(p, a, b vec) float64 {
	var ab, ap, abap float64
	for c := range p {
		ab += (b[c] - a[c]) * (b[c] - a[c])
		abap += (b[c] - a[c]) * (p[c] - a[c])
	}
	t := 0.0
	if ab > 0 {
		t = min(max(abap/ab, 0), 1)
	}
	for c := range p {
		d := p[c] - (a[c] + t*(b[c]-a[c]))
		ap += d * d
	}
	return math.Sqrt(ap)
}
