# Whoever sets a new password may do so because somebody else had the old one: that one's sessions end with it, and the services they
# signed in to are told, as when the member signs out. The session in which it was changed goes on.
package PerronOtherSessions;

use strict;
use Mouse;
use Lemonldap::NG::Common::Session 'id2storage';
use Lemonldap::NG::Portal::Main::Constants qw(PE_OK);

extends 'Lemonldap::NG::Portal::Main::Plugin', 'Lemonldap::NG::Portal::Lib::OtherSessions';

use constant hook => { passwordAfterChange => 'end' };

sub end {
    my ( $self, $req ) = @_;
    my $key    = $self->conf->{whatToTrace};
    my $user   = $req->sessionInfo->{$key} // return PE_OK;
    my $issuer = $self->p->loadedModules->{'Lemonldap::NG::Portal::Issuer::OpenIDConnect'};
    my $own    = $req->userData->{_session_id} // '';
    $own = id2storage($own) if $own && $self->conf->{hashedSessionStore};

    # the password is changed already: what fails here is said in the journal, and the rest goes on
    my $found = eval { $self->module->searchOn( $self->moduleOpts, $key, $user ) };
    $self->userLogger->error("Password of $user changed, their other sessions not found: $@") if $@;
    for my $id ( grep { $_ ne $own && $found->{$_}->{_session_kind} eq 'SSO' } keys %{ $found || {} } ) {

        # by the name it is stored under
        my $session = $self->p->getApacheSession( $id, hashStore => 0 ) or next;
        if ($issuer) {
            local $req->{userData}    = $session->data;
            local $req->{sessionInfo} = $session->data;
            eval { $issuer->logout($req) };
        }
        $self->p->_deleteSession( $req, $session, 1 );
    }
    return PE_OK;
}

1;
