# LemonLDAP::NG parses the template of each page anew for each request, which was a fifth of a sign-in's work; the forms on it
# it keeps parsed. This keeps both. HTML::Template looks at the files' times, and empties what it filled in before.
package PerronParsedPages;

use strict;
use warnings;
use HTML::Template;
use Mouse;

extends 'Lemonldap::NG::Portal::Main::Plugin';

my $new = \&HTML::Template::new;

no warnings 'redefine';
*HTML::Template::new = sub {
    my ( $class, %options ) = @_;

    # the words of a message by mail, in one language, are put in as it is parsed
    $options{cache} = 1 if !$options{filter};
    return $new->( $class, %options );
};

1;
