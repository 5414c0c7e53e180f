package accounts

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestEnsureStaff(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		created, err := s.EnsureStaff(t.Context(), "Root@example.com", "first password")
		if !created || err != nil {
			t.Fatalf("the first time: %t, %v", created, err)
		}
		created, err = s.EnsureStaff(t.Context(), "root@EXAMPLE.com", "second password")
		if created || err != nil {
			t.Errorf("the second time: %t, %v", created, err)
		}
		if _, err := s.login(t.Context(), "192.0.2.1", "root@example.com", "second password"); err == nil {
			t.Error("the password was changed")
		}
		pair, err := s.login(t.Context(), "192.0.2.1", "root@example.com", "first password")
		if err != nil {
			t.Fatal(err)
		}
		if caller, err := s.Authenticate(t.Context(), pair.Access); err != nil || !caller.Staff {
			t.Errorf("the caller is %+v, %v; want staff", caller, err)
		}
	})
}

func TestEnsureStaffRaisesACustomer(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		token := s.join(t, "ann").Access
		created, err := s.EnsureStaff(t.Context(), "ann@example.com", "") // no password is needed for one who has one
		if created || err != nil {
			t.Errorf("created %t, %v", created, err)
		}
		if caller, err := s.Authenticate(t.Context(), token); err != nil || !caller.Staff {
			t.Errorf("the caller is %+v, %v; want staff", caller, err)
		}
	})
}

func TestEnsureStaffFindsAUsername(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for _, test := range []struct{ email, username string }{
			{"root@example.com", "root"},
			{"root@example.org", "root-"}, // and a random ending
			{"o'neil%shop@example.com", "o-neil-shop"},
			{"'''@example.com", "admin"},
		} {
			if created, err := s.EnsureStaff(t.Context(), test.email, "correct horse"); !created || err != nil {
				t.Errorf("%s: %t, %v", test.email, created, err)
				continue
			}
			made, err := s.store.byEmail(t.Context(), test.email)
			if err != nil {
				t.Fatal(err)
			}
			exact := !strings.HasSuffix(test.username, "-")
			if !strings.HasPrefix(made.Username, test.username) || exact && made.Username != test.username || !usernamePattern.MatchString(made.Username) {
				t.Errorf("%s: the username is %q, want %q", test.email, made.Username, test.username)
			}
		}
	})
}

func TestEnsureStaffRefuses(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for _, test := range []struct{ email, password, want string }{
			{"root", "correct horse", `"root" is not an email address`},
			{"Root <root@example.com>", "correct horse", "is not an email address"},
			{"root@example.com", "password1", "the password of root@example.com is refused: This password is too common."},
			{"root@example.com", "root", "The password is too similar to the username."},
		} {
			created, err := s.EnsureStaff(t.Context(), test.email, test.password)
			if created || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %t, %v; want %s", test.email, created, err, test.want)
			}
		}
	})
}

func TestEnsureStaffAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		var created atomic.Int64
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				made, err := s.EnsureStaff(t.Context(), "root@example.com", "correct horse")
				if err != nil {
					t.Error(err)
				}
				if made {
					created.Add(1)
				}
			})
		}
		group.Wait()
		if created.Load() != 1 {
			t.Errorf("the staff user was made %d times", created.Load())
		}
	})
}

func TestKeepStaffFollowsTheSettings(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		keep := func(password string) {
			t.Helper()
			if err := s.KeepStaff(t.Context(), "root@example.com", password); err != nil {
				t.Fatal(err)
			}
		}
		// expect tells which of the passwords is good.
		expect := func(good string) {
			t.Helper()
			for _, password := range []string{"first password", "second password", "of my own"} {
				if _, err := s.login(t.Context(), "192.0.2.1", "root@example.com", password); (err == nil) != (password == good) {
					t.Errorf("with %q: %v, and %q is the password", password, err, good)
				}
			}
		}
		keep("first password")
		expect("first password")
		pair, err := s.login(t.Context(), "192.0.2.1", "root@example.com", "first password")
		if err != nil {
			t.Fatal(err)
		}
		keep("second password")
		expect("second password")
		if caller, err := s.Authenticate(t.Context(), pair.Access); err != nil || !caller.Staff {
			t.Errorf("the login of before is %+v, %v: want it to last", caller, err)
		}

		u, err := s.store.byEmail(t.Context(), "root@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if set, err := s.setPassword(t.Context(), u, "of my own", ""); !set || err != nil {
			t.Fatalf("set %t, %v", set, err)
		}
		keep("second password") // a restart
		expect("of my own")
		keep("first password")
		expect("first password")
		if err := s.KeepStaff(t.Context(), "root@example.com", "password1"); err == nil || !strings.Contains(err.Error(), "too common") {
			t.Errorf("a password that is too common: %v", err)
		}
		expect("first password")
	})
}

func TestKeepStaffLeavesACustomerThePassword(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		before, err := s.store.byEmail(t.Context(), "ann@example.com")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.KeepStaff(t.Context(), "ann@example.com", "of the settings"); err != nil {
				t.Fatal(err)
			}
		}
		after, err := s.store.byEmail(t.Context(), "ann@example.com")
		if err != nil || after.PasswordHash != before.PasswordHash || !after.IsStaff {
			t.Errorf("staff %t, and the password is another: %t; %v", after.IsStaff, after.PasswordHash != before.PasswordHash, err)
		}
	})
}
