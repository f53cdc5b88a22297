//! Usage errors and flags.

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain(
            "argument counts",
            "create
             create R/t/app:l
             annotate R/t/app:l
             annotate a b c
             inspect
             inspect a b c
             push
             push a b
             rm
             rm --
             bogus
             help",
        ),
        plain(
            "unknown flags",
            "create --bogus a b
             create -x a b
             create -ax a b
             create --amen a b
             create --- a b
             create --=x a b
             create -a= a b
             create -é a b
             push -D a
             push a --debug
             bogus --x
             --bogus create a b
             --bogus=1 create a b
             -xy create a b
             -- create a b",
        ),
        plain(
            "bad values of flags",
            "create --amend=maybe a b
             create -a=maybe a b
             create --insecure= a b
             inspect -v=2 a
             push --purge=yes a
             annotate a b --os
             annotate --os-features 'a\"b' a b
             annotate --os-features '\"a' a b",
        ),
        plain(
            "flags anywhere, repeated and switched off",
            "create R/t/app:l --amend R/t/app:amd64 --amend R/t/app:arm64 --insecure
             inspect --verbose=false R/t/app:l
             create --amend=false R/t/app:l --insecure R/t/app:amd64
             create -a=1 --insecure=T R/t/app:l -- R/t/app:s390x
             push R/t/app:l -p=false --insecure
             push --purge --purge=0 R/t/app:l
             push -p R/t/app:l
             push -p R/t/app:l",
        ),
        plain(
            "elsewhere by --config",
            "@--config elsewhere manifest create --insecure R/t/app:l R/t/app:amd64
             @--config elsewhere manifest inspect R/t/app:l
             inspect R/t/app:l R/t/app:amd64
             @--config=elsewhere manifest rm R/t/app:l",
        ),
    ]
}
