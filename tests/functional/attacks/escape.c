// What code inside a box tries in order to get out: see escape.h for how it answers.
//     escape              all of them
//     escape "A14 bpf"    one
//     escape euid|crash   for the test: who we are; a fault
#include "escape.h"

static void try_one(const struct attempt* attempt) {
  pid_t child = fork();
  if (child < 0) {
    printf("%s\tBROKEN: fork: %s\n", attempt->name, errno_word(errno));
    return;
  }
  if (!child) {
    alarm(20);
    printf("%s\t%s\n", attempt->name, attempt->run());
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status))  // SIGSYS is a filter's way of saying no
    printf("%s\t%s: killed by signal %d\n", attempt->name,
           WTERMSIG(status) == SIGSYS ? "denied" : "BROKEN", WTERMSIG(status));
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  if (argc > 1 && !strcmp(argv[1], "euid")) {
    printf("%d %d\n", getuid(), geteuid());
    return 0;
  }
  if (argc > 1 && !strcmp(argv[1], "crash")) *(volatile int*)8 = 1;
  const struct attempt* lists[] = {kFileAttempts, kCallAttempts};
  for (int i = 0; i < 2; i++)
    for (const struct attempt* attempt = lists[i]; attempt->name; attempt++)
      if (argc < 2 || !strcmp(argv[1], attempt->name)) try_one(attempt);
  return 0;
}
