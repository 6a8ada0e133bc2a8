// Managed by Ansible (role portal)
// LemonLDAP::NG's own script puts a page into the member's language, and leaves it to be read aloud as English
$(document).on("ajaxSuccess", (event, request, asked) => {
  const [, language] = /\/languages\/([a-z]+)\.json/.exec(asked.url) || [];
  if (language) document.documentElement.lang = language;
});
