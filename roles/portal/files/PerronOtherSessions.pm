# Whoever sets a new password may do so because somebody else had the old one: that one's sessions end with it, and the services
# they signed in to are told, as when the member signs out. The session in which it was changed goes on.
package PerronOtherSessions;

use strict;
use Mouse;
use Lemonldap::NG::Common::Session 'id2storage';
use Lemonldap::NG::Portal::Main::Constants qw(PE_OK);

extends 'Lemonldap::NG::Portal::Main::Plugin', 'Lemonldap::NG::Portal::Lib::OtherSessions';

use constant { afterSub => { setLocalGroups => 'number' }, hook => { passwordAfterChange => 'end' } };

# What services know a session by. LemonLDAP::NG makes it from the cookie, which is kept nowhere: of another session than the
# browser's own it would be lost.
sub number {
    my ( $self, $req ) = @_;
    $req->sessionInfo->{_oidc_sid} //= $req->userData->{_oidc_sid} // Lemonldap::NG::Common::Session::randomId();
    return PE_OK;
}

sub end {
    my ( $self, $req ) = @_;
    my $key    = $self->conf->{whatToTrace};
    my $user   = $req->sessionInfo->{$key} // return PE_OK;
    my $own    = id2storage( $req->userData->{_session_id} ) // '';
    my $issuer = $self->p->loadedModules->{'Lemonldap::NG::Portal::Issuer::OpenIDConnect'};

    # the password is changed already: what fails from here on is said in the journal
    my $found = eval { $self->module->searchOn( $self->moduleOpts, $key, $user ) };
    $self->userLogger->error("Password of $user changed, their other sessions are not known: $@") if $@;
    for my $id ( grep { $_ ne $own && $found->{$_}->{_session_kind} eq 'SSO' } keys %{ $found || {} } ) {
        my $session = $self->p->getApacheSession( $id, hashStore => 0 ) or next;    # by the name it is stored under

        # as the database has it: a copy of a moment ago lacks the service of this moment
        local $req->{userData} = local $req->{sessionInfo} = $found->{$id};
        $issuer->logout($req) if $issuer;
        $self->p->_deleteSession( $req, $session, 1 );
    }
    return PE_OK;
}

1;
