package metric

// DefaultThreshold is the threshold of [Summary.Confusion]: a row is called
// positive where that is the likelier class. With few positives a model rarely
// goes that far, so [Summary.KSConfusion] gives the counts at the KS as well.
const DefaultThreshold = 0.5

// Summary is the figures of one set of rows. All of them are finite.
type Summary struct {
	Rows      int     `json:"rows"`
	Positives int     `json:"positives"`
	AUC       float64 `json:"auc"`
	AUCLow    float64 `json:"auc_low"` // DeLong's 95 % interval, [0, 1] where a class has one row
	AUCHigh   float64 `json:"auc_high"`
	KS        float64 `json:"ks"`
	Gini      float64 `json:"gini"`
	LogLoss   float64 `json:"log_loss"` // nats a row
	Brier     float64 `json:"brier"`
	AP        float64 `json:"average_precision"`
	Lift10    float64 `json:"lift_10"`    // of the tenth of rows with the highest scores
	MeanScore float64 `json:"mean_score"` // to compare with Positives/Rows

	Threshold   float64   `json:"threshold"` // DefaultThreshold
	Confusion   Confusion `json:"confusion"`
	KSThreshold float64   `json:"ks_threshold"` // the score at which the KS is reached
	KSConfusion Confusion `json:"ks_confusion"`
}

// Evaluation is a summary with the curves and tables behind it.
type Evaluation struct {
	Summary     `json:"summary"`
	ROC         []ROCPoint `json:"roc"`         // at most MaxPoints
	KSCurve     []KSPoint  `json:"ks_curve"`    // in the points of ROC
	PR          []PRPoint  `json:"pr"`          // at most MaxPoints
	Gains       []Gain     `json:"gains"`       // by deciles
	Calibration []Bin      `json:"calibration"` // at most 10 bins
}

// Evaluate measures probabilities, one a row, against their labels. It sorts
// once and takes O(n log n). Errors: [ErrLength], [ErrEmpty], [ErrScore], [ErrLabel],
// [ErrProbability], [ErrOneClass].
func Evaluate(scores, labels []float64) (*Evaluation, error) {
	r, err := rankTwo(scores, labels)
	if err != nil {
		return nil, err
	}
	if err := r.probabilities(); err != nil {
		return nil, err
	}
	e := &Evaluation{
		Summary: Summary{
			Rows: r.rows(), Positives: r.pos,
			AUC: r.auc(), LogLoss: r.logLoss(), Brier: r.brier(), AP: r.averagePrecision(),
			MeanScore: r.meanScore(),
			Threshold: DefaultThreshold, Confusion: r.confusion(DefaultThreshold),
		},
		PR:          r.pr(MaxPoints),
		Gains:       r.gains(10),
		Calibration: r.calibration(10),
	}
	e.ROC, e.KSCurve = r.curves(MaxPoints)
	e.AUCLow, e.AUCHigh = r.aucInterval()
	e.Gini = 2*e.AUC - 1
	e.Lift10 = e.Gains[0].CumLift
	ks, at := r.ks()
	e.KS, e.KSThreshold = ks, r.groups[at].score
	e.KSConfusion = r.confusion(e.KSThreshold)
	return e, nil
}
