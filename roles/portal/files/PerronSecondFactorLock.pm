# LemonLDAP::NG counts failures at the password alone, and each prompt for a second factor has the history of the moment at
# which it was asked for: failures in a thousand prompts fetched beforehand were one. So what is on record now takes the place
# of what the prompt remembers, and judges before the code does. Requests at the same instant may still see the same record;
# there are no more of them than the portal has processes.
package PerronSecondFactorLock;

use strict;
use Mouse;
use Lemonldap::NG::Portal::Main::Constants qw(PE_OK PE_APACHESESSIONERROR PE_BADOTP);
use Lemonldap::NG::Portal::Lib::OneTimeToken;

extends 'Lemonldap::NG::Portal::Main::Plugin';

# What a form or a prompt waits for is in the database. While that is down, LemonLDAP::NG would show the form without, to refuse it
# when it is sent: the web server's page, which an error calls, tells what is the matter.
Lemonldap::NG::Portal::Lib::OneTimeToken->meta->add_around_method_modifier(
    createToken => sub {
        my ( $create, @arguments ) = @_;
        return $create->(@arguments) // die "no token: the database of the sessions does not answer\n";
    }
);

use constant hook => { sfBeforeVerify => 'judge', sfAfterVerify => 'once' };

sub judge {
    my ( $self, $req, $module, $session ) = @_;
    my $user   = $session->{ $self->conf->{whatToTrace} };
    my $record = $self->p->getPersistentSession($user);

    # without it nothing can be counted
    return PE_APACHESESSIONERROR if !$record || $record->error;

    # a failure is added to this one, and the sum is written back
    $session->{_loginHistory} = $record->data->{_loginHistory} || {};

    # who turned it off by portal_settings wants no lock
    my $lock = $self->p->loadedModules->{'Lemonldap::NG::Portal::Plugins::BruteForceProtection'} or return PE_OK;
    local $req->{sessionInfo} = $session;
    my $answer = $lock->run($req);
    $self->userLogger->warn("Second factor of $user is not even tried: too many failures") if $answer != PE_OK;
    return $answer;
}

# LemonLDAP::NG takes a code as often as it comes while its time lasts: whoever saw it typed had as long to sign in with it
# (RFC 6238, 5.2). One that was taken is a wrong one from then on.
sub once {
    my ( $self, $req, $module, $session, $verified ) = @_;
    return PE_OK if $module->prefix ne 'totp' || $verified->{result} != PE_OK;
    my $user   = $session->{ $self->conf->{whatToTrace} };
    my $record = $self->p->getPersistentSession($user);
    return PE_APACHESESSIONERROR if !$record || $record->error;

    my $lasts = $self->conf->{totp2fInterval} * ( 2 * $self->conf->{totp2fRange} + 1 );
    my $taken = $record->data->{_totpTaken} || {};
    my %taken = map { $_ => $taken->{$_} } grep { $taken->{$_} > time - $lasts } keys %$taken;
    if ( $taken{ $req->param('code') } ) {
        $self->userLogger->warn("Second factor of $user: a code that was taken before");
        $verified->{result} = PE_BADOTP;
        return PE_OK;
    }
    $taken{ $req->param('code') } = time;
    return $record->update( { _totpTaken => \%taken } ) ? PE_OK : PE_APACHESESSIONERROR;
}

1;
