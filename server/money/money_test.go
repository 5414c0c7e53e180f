package money_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]money.Amount{
		"0": 0, "0.00": 0, "-0": 0, ".5": 50, "5.": 500, "12": 1200, "+12.5": 1250, "-0.01": -1,
		"999.99": 99999, "007.10": 710, "1.2300000": 123, "99999999.99": money.Max,
		"92233720368547758.07": math.MaxInt64, "-92233720368547758.07": -math.MaxInt64,
		strings.Repeat("0", 500) + "1": 100,
		"1e2":                          10000, "1E2": 10000, "1.5e1": 1500, "1.e+2": 10000, ".5e1": 500, "-12e-1": -120, "1e-2": 1, "100e-4": 1, "9e16": 9e18,
		"0e999999999": 0, "0.00e-999999999": 0, "0." + strings.Repeat("0", 499) + "1e500": 100,
		"1" + strings.Repeat("0", 500) + "e-500": 100, "9223372036854775807e-2": math.MaxInt64,
	} {
		if got, err := money.Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"": money.ErrSyntax, ".": money.ErrSyntax, "-": money.ErrSyntax, "+-1": money.ErrSyntax, "--1": money.ErrSyntax,
		"e": money.ErrSyntax, "e3": money.ErrSyntax, "1e": money.ErrSyntax, "1e+": money.ErrSyntax, "1e2.5": money.ErrSyntax, "1e 2": money.ErrSyntax,
		"1e2e2": money.ErrSyntax, "1e_2": money.ErrSyntax, "1e+-2": money.ErrSyntax, "0x1e2": money.ErrSyntax, "1f2": money.ErrSyntax, "1e2147483648": money.ErrSyntax, "0e-2147483649": money.ErrSyntax, "0x10": money.ErrSyntax, "1_000": money.ErrSyntax, "1,50": money.ErrSyntax,
		"1.2.3": money.ErrSyntax, " 1": money.ErrSyntax, "١": money.ErrSyntax, "NaN": money.ErrSyntax, "Infinity": money.ErrSyntax,
		"0.001": money.ErrPrecision, "9.999": money.ErrPrecision,
		"1e-3": money.ErrPrecision, "1.25e-1": money.ErrPrecision, "1e-999999999": money.ErrPrecision,
		"1e17": money.ErrRange, "1e999999999": money.ErrRange, "-1E+999999999": money.ErrRange, "9223372036854775808e-2": money.ErrRange,
		"92233720368547758.08": money.ErrRange, strings.Repeat("9", 400): money.ErrRange,
	} {
		if got, err := money.Parse(text); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %d, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseGivesTheNearestOfWhatIsOutOfRange(t *testing.T) {
	for text, want := range map[string]money.Amount{
		"92233720368547758.08": math.MaxInt64, "1e999999999": math.MaxInt64,
		"-92233720368547758.08": -math.MaxInt64, "-1e999999999": -math.MaxInt64,
	} {
		if got, err := money.Parse(text); !errors.Is(err, money.ErrRange) || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d out of range", text, got, err, want)
		}
	}
}

func TestAmountAsJSON(t *testing.T) {
	body, err := json.Marshal(map[string]money.Amount{"a": 99999, "b": 0, "c": -5, "d": math.MinInt64})
	const want = `{"a":"999.99","b":"0.00","c":"-0.05","d":"-92233720368547758.08"}`
	if err != nil || string(body) != want {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
}

func TestParseReadsWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := money.Amount(rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "amount"))
		if got, err := money.Parse(amount.String()); err != nil || got != amount {
			t.Fatalf("Parse(%q) = %d, %v; want %d", amount, got, err, amount)
		}
	})
}

// The rationals of the standard library say what a decimal is, and whether that is an amount.
func TestParseReadsExactlyTheAmounts(t *testing.T) {
	decimals := rapid.StringMatching(`[+-]?(0{0,3}[0-9]{1,19}0{0,3}(\.[0-9]{0,4})?|\.[0-9]{1,4}0{0,3})([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		text := decimals.Draw(t, "decimal")
		hundredths, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no decimal", text)
		}
		hundredths.Mul(hundredths, big.NewRat(100, 1))
		want := error(nil)
		switch {
		case !hundredths.IsInt():
			want = money.ErrPrecision
		case !new(big.Int).Abs(hundredths.Num()).IsInt64():
			want = money.ErrRange
		}
		got, err := money.Parse(text)
		if !errors.Is(err, want) || err == nil && hundredths.Num().Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("Parse(%q) = %d, %v; want %s hundredths, %v", text, got, err, hundredths, want)
		}
	})
}

// The big integers of the standard library say what a total must be.
func TestTotalIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var total money.Total
		want := new(big.Int)
		for range rapid.IntRange(0, 20).Draw(t, "lines") {
			price := rapid.OneOf(rapid.Int64Range(0, int64(money.Max)), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "price")
			quantity := rapid.Int64Range(0, math.MaxInt32).Draw(t, "quantity")
			total = total.Plus(money.Amount(price), quantity)
			want.Add(want, new(big.Int).Mul(big.NewInt(price), big.NewInt(quantity)))
		}
		if got := strings.Replace(total.String(), ".", "", 1); got != padded(want) {
			t.Fatalf("the total is %s, want %s hundredths", total, want)
		}
		sum, ok := total.Amount()
		if ok != want.IsInt64() || ok && int64(sum) != want.Int64() {
			t.Fatalf("as an amount the total %s is %d, %v", want, sum, ok)
		}
	})
}

// padded writes hundredths with the three digits that 0.00 has at least.
func padded(hundredths *big.Int) string {
	digits := hundredths.String()
	return strings.Repeat("0", max(0, 3-len(digits))) + digits
}

func TestTotalAsJSON(t *testing.T) {
	body, err := json.Marshal([]money.Total{{}, money.Total{}.Plus(99999, 2), money.Total{}.Plus(money.Max, math.MaxInt32)})
	const want = `["0.00","1999.98","214748364678525163.53"]`
	if err != nil || string(body) != want {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"999.99", "-0.01", "+1.", ".5", "1e9", "1.5E-1", "0e999999999", "1e-99999999999999999999", "92233720368547758.08", "0.001", "--1", "٣"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		amount, err := money.Parse(text)
		if err != nil {
			return
		}
		if exact, ok := new(big.Rat).SetString(text); !ok || exact.Cmp(big.NewRat(int64(amount), 100)) != 0 {
			t.Errorf("Parse(%q) = %s, which it is not", text, amount)
		}
		if again, err := money.Parse(amount.String()); err != nil || again != amount {
			t.Errorf("%q is read as %s, and that as %s, %v", text, amount, again, err)
		}
	})
}
