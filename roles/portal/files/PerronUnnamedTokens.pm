# LemonLDAP::NG says which code or token it does not find, in whole: one that was used, or over, or, while the database is down, one
# that is good.
package PerronUnnamedTokens;

use strict;
use Mouse;
use Lemonldap::NG::Portal::Lib::OpenIDConnect;

extends 'Lemonldap::NG::Portal::Main::Plugin';

for my $method (qw(getOpenIDConnectSession updateToken)) {
    Lemonldap::NG::Portal::Lib::OpenIDConnect->meta->add_around_method_modifier(
        $method => sub {
            my ( $look, $self, $id, @rest ) = @_;
            return $look->( $self, $id, @rest ) if !$id;
            local $self->{userLogger} = PerronUnnamedTokens::Logger->new( $self->userLogger, $id );
            return $look->( $self, $id, @rest );
        }
    );
}

# The journal that was there, but for one word
package PerronUnnamedTokens::Logger;

our $AUTOLOAD;

sub new {
    my ( $class, $logger, $word ) = @_;
    return bless { logger => $logger, word => $word }, $class;
}

sub DESTROY { }

sub AUTOLOAD {
    my ( $self, $message ) = @_;
    my $level = $AUTOLOAD =~ s/.*:://r;
    return $self->{logger}->$level( $message =~ s/\Q$self->{word}\E/(not said)/gr );
}

1;
