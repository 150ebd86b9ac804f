#include "gateway/dns_message.h"

#include <gtest/gtest.h>

#include <random>

namespace glovebox::gateway::dns {
namespace {

using namespace std::string_literals;

const std::string kName = "\7example\3com\0"s;
std::string query(std::uint16_t type = 1, const std::string& name = kName) {
  return "\x12\x34\1\0\0\1\0\0\0\0\0\0"s + name + static_cast<char>(type >> 8) +
         static_cast<char>(type & 0xff) + "\0\1"s;
}
// What is asked, and then `records` of A.
std::string reply(std::vector<std::string> addresses) {
  std::string out = query();
  out[2] = '\x81';
  out[3] = '\x80';
  out[7] = static_cast<char>(addresses.size());
  for (const auto& address : addresses)
    out += "\xc0\x0c"s + (address.size() == 4 ? "\0\1"s : "\0\x1c"s) + "\0\1\0\0\0\x3c\0"s +
           static_cast<char>(address.size()) + address;
  return out;
}

TEST(DnsQuery, AnOrdinaryOneIsUnderstood) {
  auto parsed = parse_query(query());
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(parsed->id, 0x1234);
  EXPECT_EQ(parsed->type, 1);
  EXPECT_EQ(parsed->question, kName.size() + 4);
  EXPECT_TRUE(parse_query(query(28)) && parse_query(query(65)) && parse_query(query(16)));
}

TEST(DnsQuery, WhatIsNoneIsRefused) {
  auto changed = [](std::size_t at, char to) {
    std::string message = query();
    message[at] = to;
    return message;
  };
  for (const auto& bad : {""s, "x"s, query().substr(0, 20), changed(2, '\x81'), changed(2, '\x28'),
                          changed(5, 0), changed(5, 2), changed(7, 1), changed(12, '\xc0'),
                          changed(12, '\x40'), query(1, "\7example\3com"s),
                          query(1, std::string(300, '\1')), query() + std::string(600, 'x')}) {
    EXPECT_FALSE(parse_query(bad)) << bad.size();
  }
  for (std::uint16_t type : {252, 255, 10, 65'399, 0}) {
    auto parsed = parse_query(query(type));
    ASSERT_TRUE(parsed);
    EXPECT_FALSE(parsed->usual) << type;
  }
  std::string other_class = query();
  other_class.back() = 3;
  EXPECT_FALSE(parse_query(other_class));
}

TEST(DnsAnswer, OnlyToTheQuestionAndUnderTheIdItWasSentWith) {
  auto asked = *parse_query(query());
  std::string right = with_id(reply({"\1\2\3\4"}), 0x9999);
  EXPECT_TRUE(answers(right, asked, 0x9999));
  EXPECT_FALSE(answers(right, asked, 0x1234));
  EXPECT_FALSE(answers(with_id(query(), 0x9999), asked, 0x9999)) << "a query is no answer";
  std::string shouting = right;
  shouting[13] = 'E';
  EXPECT_TRUE(answers(shouting, asked, 0x9999));
  shouting[13] = 'f';
  EXPECT_FALSE(answers(shouting, asked, 0x9999));
  EXPECT_FALSE(answers(right.substr(0, 20), asked, 0x9999));
}

TEST(DnsAnswer, ItsAddressesAreFound) {
  auto found = addresses(reply({"\1\2\3\4", std::string(16, '\7'), "\12\0\0\1"s}));
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(*found, (std::vector<std::string>{"\1\2\3\4", std::string(16, '\7'), "\12\0\0\1"s}));
  EXPECT_TRUE(addresses(reply({}))->empty());
}

TEST(DnsAnswer, OneThatIsCutShortIsAnError) {
  const std::string whole = reply({"\1\2\3\4", "\5\6\7\10"});
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(addresses(whole.substr(0, length))) << length;
}

TEST(DnsAnswer, OursCarryTheQuestionAndNothingElse) {
  auto asked = *parse_query(query());
  std::string ours = answer(asked, Answer::no_such_name);
  EXPECT_TRUE(answers(ours, asked, 0x1234));
  EXPECT_EQ(ours[3] & 0xf, 3);
  EXPECT_TRUE(addresses(ours)->empty());
}

TEST(DnsMessage, NoiseHarmsNobody) {
  std::mt19937 random(7);
  const std::string good = reply({"\1\2\3\4", "\5\6\7\10"});
  auto asked = *parse_query(query());
  for (int round = 0; round < 50'000; ++round) {
    std::string message = good.substr(0, random() % (good.size() + 1));
    for (int i = 0; i < 3 && !message.empty(); ++i)
      message[random() % message.size()] = static_cast<char>(random());
    (void)addresses(message);
    (void)answers(message, asked, 0x1234);
    if (auto parsed = parse_query(message)) (void)answer(*parsed, Answer::failed);
  }
}

}  // namespace
}  // namespace glovebox::gateway::dns
